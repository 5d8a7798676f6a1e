//! Columns of a batch by name and type, with the texts of a dictionary shared.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ListArray, RecordBatch};

use super::error::ColumnsError;

/// The column of this name.
pub(super) fn column<'a, T: 'static>(
    batch: &'a RecordBatch,
    name: &'static str,
    expected: &str,
) -> Result<&'a T, ColumnsError> {
    let array = batch.column_by_name(name);
    array
        .and_then(|array| array.as_any().downcast_ref())
        .ok_or_else(|| ColumnsError::Column {
            column: name,
            expected: expected.to_owned(),
            found: array.map_or("nothing".to_owned(), |array| array.data_type().to_string()),
        })
}

/// A text column: each row's key, and each key's text.
#[derive(Debug)]
pub(super) struct Texts<'a> {
    pub(super) name: &'static str,
    keys: &'a arrow_array::Int32Array,
    values: Vec<Arc<str>>,
}

impl<'a> Texts<'a> {
    pub(super) fn new(batch: &'a RecordBatch, name: &'static str) -> Result<Self, ColumnsError> {
        let array = column::<arrow_array::DictionaryArray<Int32Type>>(batch, name, "text")?;
        Self::of(array, name)
    }

    fn of(
        array: &'a arrow_array::DictionaryArray<Int32Type>,
        name: &'static str,
    ) -> Result<Self, ColumnsError> {
        let values = array
            .values()
            .as_string_opt::<i32>()
            .ok_or_else(|| ColumnsError::Column {
                column: name,
                expected: "text".to_owned(),
                found: array.data_type().to_string(),
            })?;
        Ok(Self {
            name,
            keys: array.keys(),
            values: values
                .iter()
                .map(|value| Arc::from(value.unwrap_or_default()))
                .collect(),
        })
    }

    /// The texts that occur.
    pub(super) fn values(&self) -> &[Arc<str>] {
        &self.values
    }

    /// The row's dictionary key; -1 for null.
    pub(super) fn key(&self, row: usize) -> i32 {
        if self.keys.is_null(row) {
            -1
        } else {
            self.keys.value(row)
        }
    }

    pub(super) fn get(&self, row: usize) -> Option<&Arc<str>> {
        usize::try_from(self.key(row))
            .ok()
            .and_then(|key| self.values.get(key))
    }

    pub(super) fn need(&self, row: usize) -> Result<&Arc<str>, ColumnsError> {
        self.get(row).ok_or(ColumnsError::Null {
            column: self.name,
            row,
        })
    }

    /// The row's text as one of a vocabulary.
    pub(super) fn word<T>(
        &self,
        row: usize,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ColumnsError> {
        let text = self.need(row)?;
        parse(text).ok_or_else(|| ColumnsError::Value {
            column: self.name,
            row,
            value: text.to_string(),
        })
    }
}

/// A column of lists of texts.
#[derive(Debug)]
pub(super) struct TextLists<'a> {
    offsets: &'a [i32],
    texts: Texts<'a>,
}

impl<'a> TextLists<'a> {
    pub(super) fn new(batch: &'a RecordBatch, name: &'static str) -> Result<Self, ColumnsError> {
        let array = column::<ListArray>(batch, name, "list of text")?;
        let values = array
            .values()
            .as_any_dictionary_opt()
            .and_then(|values| values.as_any().downcast_ref())
            .ok_or_else(|| ColumnsError::Column {
                column: name,
                expected: "list of text".to_owned(),
                found: array.data_type().to_string(),
            })?;
        Ok(Self {
            offsets: array.value_offsets(),
            texts: Texts::of(values, name)?,
        })
    }

    fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }

    /// The row's dictionary keys: equal keys are equal lists.
    pub(super) fn keys(&self, row: usize) -> &'a [i32] {
        &self.texts.keys.values()[self.range(row)]
    }

    pub(super) fn get(&self, row: usize) -> Result<Vec<Arc<str>>, ColumnsError> {
        self.range(row)
            .map(|at| self.texts.need(at).cloned())
            .collect()
    }
}

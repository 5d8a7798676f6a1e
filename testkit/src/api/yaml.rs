//! Manifests as files have them.

use std::{fs, io, path::Path};

use serde_json::Value;

use super::{ApiError, object::Object};

/// The objects of YAML documents; those of a `List` one by one.
pub(super) fn objects(origin: &str, yaml: &str) -> Result<Vec<Object>, ApiError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).map_err(|source| ApiError::Yaml {
            origin: origin.to_owned(),
            source: Box::new(source),
        })?;
    let documents = documents.into_iter().flat_map(|mut document| {
        let is_list = document["kind"] == "List";
        match document.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) if is_list => items,
            _ => vec![document],
        }
    });
    documents.map(Object::new).collect()
}

/// The objects of all `*.yaml` files of a directory.
pub(super) fn directory(directory: &Path) -> Result<Vec<Object>, ApiError> {
    let entries = || -> io::Result<Vec<_>> {
        let entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
        paths.retain(|path| path.extension().is_some_and(|it| it == "yaml"));
        paths.sort();
        Ok(paths)
    };
    let paths = entries().map_err(ApiError::io("list", directory.display()))?;
    let mut all = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).map_err(ApiError::io("read", path.display()))?;
        all.extend(objects(&path.display().to_string(), &text)?);
    }
    Ok(all)
}

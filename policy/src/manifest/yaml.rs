//! YAML text → a tree that knows where everything stands. Bounded in depth, nodes and alias expansion; never panics.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

/// How deep manifests may nest.
const MAX_DEPTH: usize = 100;
/// How many nodes one text may hold, aliases expanded.
const MAX_NODES: usize = 5_000_000;
/// How many documents one text may hold.
const MAX_DOCUMENTS: usize = 200_000;

/// A place in a text, both 1-based.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) value: Value,
}

/// A value as the API server's decoder sees it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Entry>),
}

/// One key of an object, in the order of the text. Keys may repeat: whoever reads the object says so.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) mark: Mark,
    pub(super) node: Node,
}

/// Why a text is no YAML that can be read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct YamlError {
    pub(super) mark: Mark,
    pub(super) message: String,
}

impl Value {
    /// What it is, in words for messages.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a fractional number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Reads all documents. An error ends the reading; the documents before it are returned beside it.
pub(super) fn documents(text: &str) -> (Vec<Node>, Option<YamlError>) {
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut documents = Vec::new();
    loop {
        match builder.document() {
            Ok(Some(node)) if documents.len() < MAX_DOCUMENTS => documents.push(node),
            Ok(Some(node)) => {
                let message = format!("more than {MAX_DOCUMENTS} documents in one file");
                return (
                    documents,
                    Some(YamlError {
                        mark: node.mark,
                        message,
                    }),
                );
            }
            Ok(None) => return (documents, None),
            Err(error) => return (documents, Some(error)),
        }
    }
}

struct Builder<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'t> Builder<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Mark), YamlError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, mark(&span))),
            Some(Err(error)) => Err(scan_error(&error)),
            None => Ok((Event::StreamEnd, Mark::default())),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, YamlError> {
        loop {
            let (event, mark) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(None),
                Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Nothing => {}
                event => {
                    self.anchors.clear();
                    return self.node(event, mark, 0).map(Some);
                }
            }
        }
    }

    fn node(&mut self, event: Event<'t>, mark: Mark, depth: usize) -> Result<Node, YamlError> {
        self.count(mark, 1)?;
        if depth > MAX_DEPTH {
            return Err(YamlError {
                mark,
                message: format!("nested deeper than {MAX_DEPTH} levels"),
            });
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                (
                    if is_plain {
                        plain(&text)
                    } else {
                        Value::Text(text.into_owned())
                    },
                    anchor,
                )
            }
            Event::SequenceStart(anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.object(depth)?, anchor),
            Event::Alias(anchor) => return self.alias(anchor, mark),
            other => {
                return Err(YamlError {
                    mark,
                    message: format!("unexpected {other:?}"),
                });
            }
        };
        let node = Node { mark, value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, mark) => items.push(self.node(event, mark, depth + 1)?),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut entries = Vec::new();
        loop {
            let (event, mark) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Object(entries));
            }
            let key = match self.node(event, mark, depth + 1)?.value {
                Value::Text(text) => text,
                Value::Bool(value) => value.to_string(),
                Value::Int(value) => value.to_string(),
                Value::Float(value) => value.to_string(),
                other => {
                    return Err(YamlError {
                        mark,
                        message: format!("a key must be a string, not {}", other.describe()),
                    });
                }
            };
            let (event, value_mark) = self.next()?;
            let node = self.node(event, value_mark, depth + 1)?;
            entries.push(Entry { key, mark, node });
        }
    }

    fn alias(&mut self, anchor: usize, mark: Mark) -> Result<Node, YamlError> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err(YamlError {
                mark,
                message: "an alias to an anchor that is not complete".into(),
            });
        };
        self.count(mark, size(&node))?;
        Ok(Node { mark, ..node })
    }

    fn count(&mut self, mark: Mark, nodes: usize) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(YamlError {
                mark,
                message: format!("more than {MAX_NODES} values in one file, aliases expanded"),
            });
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => items.iter().map(size).fold(1, usize::saturating_add),
        Value::Object(entries) => entries
            .iter()
            .map(|entry| size(&entry.node))
            .fold(1, usize::saturating_add),
        _ => 1,
    }
}

fn mark(span: &Span) -> Mark {
    Mark {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

fn scan_error(error: &ScanError) -> YamlError {
    let marker = error.marker();
    YamlError {
        mark: Mark {
            line: marker.line(),
            column: marker.col() + 1,
        },
        message: error.info().to_owned(),
    }
}

/// The type of an unquoted scalar by YAML 1.1, as the API server's decoder (sigs.k8s.io/yaml) reads it.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    integer(text)
        .map(Value::Int)
        .or_else(|| float(text).map(Value::Float))
        .unwrap_or_else(|| Value::Text(text.to_owned()))
}

fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = digits.replace('_', "");
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o', ..] => (8, &digits[2..]),
        [b'0', b'b', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits.as_str()),
    };
    let number = i64::from_str_radix(digits, radix)
        .ok()
        .filter(|_| !digits.starts_with(['+', '-']))?;
    Some(if negative { -number } else { number })
}

fn float(text: &str) -> Option<f64> {
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if numeric { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_where_they_stand() {
        let (documents, error) = documents("a: 1\nb:\n  - x: yes\n    y: \"80\"\n---\nc: 1.5\n");
        assert_eq!(error, None);
        assert_eq!(documents.len(), 2);
        let Value::Object(entries) = &documents[0].value else {
            panic!("an object")
        };
        assert_eq!(entries[0].mark, Mark { line: 1, column: 1 });
        assert_eq!(entries[0].node.value, Value::Int(1));
        let Value::List(items) = &entries[1].node.value else {
            panic!("a list")
        };
        let Value::Object(item) = &items[0].value else {
            panic!("an object")
        };
        assert_eq!(item[0].mark, Mark { line: 3, column: 5 });
        assert_eq!(item[0].node.value, Value::Bool(true));
        assert_eq!(item[1].node.value, Value::Text("80".into()));
        let Value::Object(second) = &documents[1].value else {
            panic!("an object")
        };
        assert_eq!(second[0].node.value, Value::Float(1.5));
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut text = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", "));
        }
        let (_, error) = documents(&text);
        assert!(error.expect("refused").message.contains("aliases expanded"));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let (_, error) = documents(&"[".repeat(5000));
        assert!(error.is_some());
    }

    #[test]
    fn broken_yaml_names_its_line() {
        let (_, error) = documents("a: 1\nb: [1, 2\nc: 3\n");
        assert!(error.expect("broken").mark.line >= 2);
    }
}

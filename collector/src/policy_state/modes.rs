//! Modes of namespaces: what the annotation [`MODE_ANNOTATION`] asks for, instead of the collector's own mode.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::warn;
use weir_flow::Mode;
use weir_policy::model::{Kind, Object, ObjectChange};

/// Annotation of a namespace with the mode for its pods: `enforce`, `audit` or `observe`.
pub const MODE_ANNOTATION: &str = "weir.dev/mode";

/// The namespaces that have a mode of their own.
#[derive(Debug, Default)]
pub(super) struct Modes(BTreeMap<Arc<str>, Mode>);

impl Modes {
    /// The mode of a namespace, if it is not the collector's.
    pub(super) fn of(&self, namespace: &str) -> Option<Mode> {
        self.0.get(namespace).copied()
    }

    /// Takes a change into account: the namespace whose mode has changed by it. A value that is no mode is said in the
    /// log and has the collector's mode stay.
    pub(super) fn take(&mut self, change: &ObjectChange) -> Option<Arc<str>> {
        let (name, asked) = match change {
            ObjectChange::Upsert(Object::Namespace(namespace)) => {
                let asked = namespace.annotations.get(MODE_ANNOTATION);
                (namespace.name.clone(), asked.map(|text| &**text))
            }
            ObjectChange::Remove(Kind::Namespace, name) => (name.name.clone(), None),
            _ => return None,
        };
        let mode = asked.and_then(Mode::parse);
        if let (Some(asked), None) = (asked, mode) {
            warn!(
                namespace = &*name,
                "{MODE_ANNOTATION}: {asked:?} is none of enforce, audit, observe: the collector's mode applies"
            );
        }
        let before = match mode {
            Some(mode) => self.0.insert(name.clone(), mode),
            None => self.0.remove(&name),
        };
        (before != mode).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use weir_policy::model::{Labels, Name, Namespace};

    use super::*;

    fn asking(mode: Option<&str>) -> ObjectChange {
        let mut namespace = Namespace::new("shop", &Labels::default());
        let mode = mode.map(|mode| (MODE_ANNOTATION.into(), mode.into()));
        namespace.annotations.extend(mode);
        ObjectChange::Upsert(Object::Namespace(Arc::new(namespace)))
    }

    #[test]
    fn a_namespace_has_the_mode_that_it_asks_for_and_no_other() {
        let mut modes = Modes::default();
        let gone = ObjectChange::Remove(Kind::Namespace, Name::new("", "shop"));
        let steps = [
            (asking(None), None, false),
            (asking(Some("audit")), Some(Mode::Audit), true),
            (asking(Some("audit")), Some(Mode::Audit), false),
            (asking(Some("observe")), Some(Mode::Observe), true),
            (asking(Some("Audit")), None, true),
            (asking(Some("enforce")), Some(Mode::Enforce), true),
            (gone, None, true),
        ];
        for (change, mode, is_news) in steps {
            assert_eq!(modes.take(&change).is_some(), is_news, "{change:?}");
            assert_eq!(modes.of("shop"), mode, "{change:?}");
        }
    }
}

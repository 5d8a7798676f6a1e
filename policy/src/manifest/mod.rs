//! Manifests: YAML or JSON text → objects, validated as the API server does, every finding with its place.
//!
//! Policies are read strictly: a field that is not known is an error, because dropping it could widen the policy.
//! Other kinds are read leniently, as real dumps have many fields that Weir does not need, but what it reads is typed.
//! Kinds that Weir does not use are passed over with a note.

mod cluster_wide;
mod diagnostic;
mod json;
mod meta;
mod network_policy;
mod objects;
mod read;
mod selector;
mod service;
mod syntax;
mod yaml;

use std::collections::HashMap;
use std::sync::Arc;

pub use diagnostic::{Diagnostic, Severity};
pub use json::from_json;
pub use yaml::Mark;

use crate::model::{Cluster, Kind, Name, Object};
use diagnostic::Findings;
use read::{At, Fields};

/// The largest text that is read.
const MAX_BYTES: usize = 256 << 20;

/// The kinds that are read, with the API versions in which they are.
const API_VERSIONS: [(&str, &str); 9] = [
    ("NetworkPolicy", "networking.k8s.io/v1"),
    ("EndpointSlice", "discovery.k8s.io/v1"),
    ("Namespace", "v1"),
    ("Node", "v1"),
    ("Pod", "v1"),
    ("Service", "v1"),
    ("AdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1"),
    (
        "BaselineAdminNetworkPolicy",
        "policy.networking.k8s.io/v1alpha1",
    ),
    ("ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2"),
];

/// An object and where it stands.
#[derive(Clone, Debug)]
pub struct Located {
    /// The object.
    pub object: Object,
    /// The source's name.
    pub file: Arc<str>,
    /// Where its document begins.
    pub mark: Mark,
    /// Places of its fields by path, e.g. `spec.ingress[0].ports[0].port`; policies only.
    pub places: Arc<HashMap<String, Mark>>,
}

/// What a text holds.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The objects without errors.
    pub objects: Vec<Located>,
    /// Findings in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// What several texts hold together.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// All objects; of two with one name the later one.
    pub cluster: Cluster,
    /// The same objects with their places.
    pub objects: Vec<Located>,
    /// Findings of all texts.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// Whether anything must be refused.
    pub fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The errors only.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Reads one text. Never fails: what is wrong is in the diagnostics, objects with errors are left out.
pub fn parse(file: &str, text: &str) -> Parsed {
    let mut findings = Findings::new(file);
    let mut objects = Vec::new();
    if text.len() > MAX_BYTES {
        findings.add(
            Severity::Error,
            "too-large",
            Mark { line: 1, column: 1 },
            "",
            format!("larger than {MAX_BYTES} bytes"),
        );
        return Parsed {
            objects,
            diagnostics: findings.into_vec(),
        };
    }
    let (documents, error) = yaml::documents(text);
    let file: Arc<str> = file.into();
    for document in &documents {
        if document.value != yaml::Value::Null {
            self::document(&At::root(document), &file, &mut objects, &mut findings);
        }
    }
    if let Some(error) = error {
        findings.add(Severity::Error, "yaml", error.mark, "", error.message);
    }
    Parsed {
        objects,
        diagnostics: findings.into_vec(),
    }
}

/// Reads several texts, given as (name, text), into one cluster.
pub fn load<N: AsRef<str>, T: AsRef<str>>(sources: impl IntoIterator<Item = (N, T)>) -> Loaded {
    let mut loaded = Loaded::default();
    let mut seen: HashMap<(Kind, Name), usize> = HashMap::new();
    for (name, text) in sources {
        let parsed = parse(name.as_ref(), text.as_ref());
        loaded.diagnostics.extend(parsed.diagnostics);
        for located in parsed.objects {
            let key = (located.object.kind(), located.object.name());
            if let Some(index) = seen.get(&key) {
                loaded
                    .diagnostics
                    .push(replaced(&loaded.objects[*index], &located));
                loaded.objects[*index] = located;
            } else {
                seen.insert(key, loaded.objects.len());
                loaded.objects.push(located);
            }
        }
    }
    loaded.cluster = loaded
        .objects
        .iter()
        .map(|located| located.object.clone())
        .collect();
    loaded
}

fn replaced(first: &Located, second: &Located) -> Diagnostic {
    let (kind, name) = (second.object.kind(), second.object.name());
    let before = format!("{}:{}", first.file, first.mark.line);
    Diagnostic {
        severity: Severity::Warning,
        code: "replaced",
        file: second.file.to_string(),
        line: second.mark.line,
        column: second.mark.column,
        path: String::new(),
        message: format!(
            "{kind} {name} replaces the one at {before}: two documents are two applies, not a union"
        ),
    }
}

fn document(at: &At<'_>, file: &Arc<str>, objects: &mut Vec<Located>, findings: &mut Findings) {
    let Some(root) = at.object(findings) else {
        return;
    };
    let (Some(api_version), Some(kind)) = (
        header(&root, "apiVersion", findings),
        header(&root, "kind", findings),
    ) else {
        return;
    };
    if api_version == "v1" && kind == "List"
        || kind.ends_with("List") && root.get("items").is_some()
    {
        for item in root.list(findings, "items") {
            document(&item, file, objects, findings);
        }
        return;
    }
    let before = findings.errors();
    let object = object(&root, api_version, kind, findings);
    if findings.errors() > before {
        return;
    }
    if let Some(object) = object {
        let places = if object.kind() == Kind::NetworkPolicy {
            places(at)
        } else {
            HashMap::new()
        };
        objects.push(Located {
            object,
            file: file.clone(),
            mark: at.mark,
            places: Arc::new(places),
        });
    }
}

fn header<'n>(root: &Fields<'n>, key: &str, findings: &mut Findings) -> Option<&'n str> {
    match root.get(key) {
        Some(at) => at.text(findings),
        None => {
            findings.add(Severity::Error, "required", root.mark, key, "required");
            None
        }
    }
}

fn object(
    root: &Fields<'_>,
    api_version: &str,
    kind: &str,
    findings: &mut Findings,
) -> Option<Object> {
    let known = API_VERSIONS.iter().find(|(known, _)| *known == kind);
    let Some((_, expected)) = known else {
        let at = root.get("kind")?;
        findings.add(
            Severity::Note,
            "ignored-kind",
            at.mark,
            "",
            format!("{kind} is not used by Weir and passed over"),
        );
        return None;
    };
    if api_version != *expected {
        let at = root.get("apiVersion")?;
        at.error(
            findings,
            "wrong-api-version",
            format!("`{api_version}` is not supported for {kind}; it must be {expected}"),
        );
        return None;
    }
    match kind {
        "NetworkPolicy" => network_policy::read(root, findings)
            .map(|object| Object::NetworkPolicy(Arc::new(object))),
        "EndpointSlice" => service::endpoint_slice(root, findings)
            .map(|object| Object::EndpointSlice(Arc::new(object))),
        "Namespace" => {
            objects::namespace(root, findings).map(|object| Object::Namespace(Arc::new(object)))
        }
        "Node" => objects::node(root, findings).map(|object| Object::Node(Arc::new(object))),
        "Pod" => objects::pod(root, findings).map(|object| Object::Pod(Arc::new(object))),
        "Service" => {
            service::service(root, findings).map(|object| Object::Service(Arc::new(object)))
        }
        "AdminNetworkPolicy" => checked(root, cluster_wide::ADMIN, findings),
        "BaselineAdminNetworkPolicy" => checked(root, cluster_wide::BASELINE_ADMIN, findings),
        _ => checked(root, cluster_wide::CLUSTER, findings),
    }
}

fn checked(
    root: &Fields<'_>,
    dialect: cluster_wide::Dialect,
    findings: &mut Findings,
) -> Option<Object> {
    cluster_wide::check(root, dialect, findings);
    None
}

/// The places of all fields below a value.
fn places(at: &At<'_>) -> HashMap<String, Mark> {
    let mut places = HashMap::new();
    let mut open = vec![at.clone()];
    let mut unused = Findings::new("");
    while let Some(at) = open.pop() {
        match &at.node.value {
            yaml::Value::Object(_) => open.extend(
                at.object(&mut unused)
                    .iter()
                    .flat_map(|fields| fields.iter().map(|(_, _, at)| at)),
            ),
            yaml::Value::List(_) => open.extend(at.list(&mut unused)),
            _ => {}
        }
        places.insert(at.path, at.mark);
    }
    places
}

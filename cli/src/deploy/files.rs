//! The files of `deploy/`, and what `kubectl kustomize` makes of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

/// Kinds of ours that are in no namespace.
const CLUSTER_WIDE: [&str; 3] = ["ClusterRole", "ClusterRoleBinding", "Namespace"];

/// An object and where it comes from.
pub(super) struct Object {
    pub(super) origin: String,
    pub(super) value: Value,
}

/// What is applied together.
pub(super) struct Set {
    pub(super) name: String,
    pub(super) objects: Vec<Object>,
}

/// A `kustomization.yaml`, with the fields that we use; kustomize, too, refuses others.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Kustomization {
    #[serde(skip)]
    directory: PathBuf,
    kind: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    components: Vec<String>,
    #[serde(default)]
    config_map_generator: Vec<ConfigMapGenerator>,
    #[serde(rename = "apiVersion")]
    _api_version: String,
    namespace: Option<String>,
    #[serde(default, rename = "labels")]
    _labels: Vec<Value>,
    #[serde(default, rename = "images")]
    _images: Vec<Value>,
    #[serde(default, rename = "patches")]
    _patches: Vec<Value>,
    #[serde(rename = "generatorOptions")]
    _generator_options: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigMapGenerator {
    #[serde(rename = "name")]
    _name: String,
    files: Vec<String>,
}

impl Object {
    pub(super) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    pub(super) fn text(&self, pointer: &str) -> &str {
        let value = self.value.pointer(pointer);
        value.and_then(Value::as_str).unwrap_or_default()
    }

    /// The object as a type of the API.
    pub(super) fn typed<T: for<'de> Deserialize<'de>>(&self) -> T {
        T::deserialize(&self.value).unwrap_or_else(|error| panic!("{}: {error}", self.origin))
    }
}

impl Kustomization {
    fn read(directory: &Path) -> Self {
        let path = directory.join("kustomization.yaml");
        let read: Self = serde_saphyr::from_str(&text(&path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self {
            directory: directory.to_owned(),
            ..read
        }
    }

    fn name(&self) -> String {
        relative(&self.directory)
    }

    /// The files and directories that it lists.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let generated = self
            .config_map_generator
            .iter()
            .flat_map(|generator| &generator.files);
        let listed = self.resources.iter().chain(&self.components);
        let paths = listed.chain(generated).map(|path| {
            let path = self.directory.join(path);
            path.canonicalize().unwrap_or(path)
        });
        paths.collect()
    }

    /// The objects of its resources, in its namespace, unpatched.
    fn objects(&self) -> Vec<Object> {
        let mut objects = Vec::new();
        for resource in &self.resources {
            let path = self.directory.join(resource);
            if path.is_dir() {
                objects.extend(Self::read(&path).objects());
            } else {
                objects.extend(documents(&relative(&path), &text(&path)));
            }
        }
        if let Some(namespace) = &self.namespace {
            let here = |object: &&mut Object| !CLUSTER_WIDE.contains(&object.kind());
            for object in objects.iter_mut().filter(here) {
                object.value["metadata"]["namespace"] = namespace.as_str().into();
            }
        }
        objects
    }
}

impl Set {
    /// As kubectl renders it; without kubectl, the resources that are listed, without patches.
    pub(super) fn load(kustomization: &Kustomization) -> Self {
        let name = kustomization.name();
        let objects = match render(&kustomization.directory) {
            Some(text) => documents(&name, &text),
            None => {
                eprintln!("{name}: not rendered, there is no kubectl here: its resources only");
                kustomization.objects()
            }
        };
        assert!(!objects.is_empty(), "{name} is empty");
        Self { name, objects }
    }

    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Object> {
        self.objects
            .iter()
            .filter(move |object| object.kind() == kind)
    }
}

/// What `kubectl kustomize` prints; none without kubectl.
fn render(directory: &Path) -> Option<String> {
    let mut kubectl = Command::new("kubectl");
    let output = kubectl.arg("kustomize").arg(directory).output().ok()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !errors.to_lowercase().contains("warning"),
        "{}: {errors}",
        directory.display()
    );
    Some(String::from_utf8(output.stdout).expect("UTF-8"))
}

pub(super) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    root.canonicalize().expect("deploy/ is in the repository")
}

/// All YAML files.
pub(super) fn yaml_files() -> Vec<PathBuf> {
    let (mut files, mut directories) = (Vec::new(), vec![root()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// All kustomizations and components.
pub(super) fn kustomizations() -> Vec<Kustomization> {
    let files = yaml_files().into_iter();
    files
        .filter(|path| path.ends_with("kustomization.yaml"))
        .filter_map(|path| path.parent().map(Kustomization::read))
        .collect()
}

/// Those that can be applied by themselves.
pub(super) fn applicable() -> Vec<Kustomization> {
    let mut all = kustomizations();
    all.retain(|kustomization| kustomization.kind == "Kustomization");
    all
}

/// All objects as they are written.
pub(super) fn manifests() -> Vec<Object> {
    let files = yaml_files().into_iter();
    files
        .filter(|path| !path.ends_with("kustomization.yaml"))
        .flat_map(|path| documents(&relative(&path), &text(&path)))
        .collect()
}

fn documents(origin: &str, text: &str) -> Vec<Object> {
    let values: Vec<Value> =
        serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{origin}: {error}"));
    let object = |value: Value| {
        let mut object = Object {
            origin: String::new(),
            value,
        };
        object.origin = format!("{origin}: {} {}", object.kind(), object.name());
        object
    };
    values.into_iter().map(object).collect()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn relative(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let relative = path.strip_prefix(root()).unwrap_or(&path);
    relative.display().to_string()
}

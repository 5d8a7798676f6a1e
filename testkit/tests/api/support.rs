//! Clients, objects, and a copy of what a watcher knows.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config, ResourceExt,
    config::{KubeConfigOptions, Kubeconfig},
    core::{ObjectMeta, PartialObjectMeta},
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use weir_testkit::api::{ApiServer, Resource};

/// Generous: tests run on busy machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(2);

pub(crate) async fn client(api: &ApiServer) -> Client {
    client_with(api, None).await
}

pub(crate) async fn client_with(api: &ApiServer, token: Option<&str>) -> Client {
    let kubeconfig = ApiServer::kubeconfig(api.address(), token);
    let kubeconfig = Kubeconfig::from_yaml(&kubeconfig).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options);
    let mut config = config.await.expect("a config");
    // What the server answers is what is tested; kube would ask again for minutes after a 503.
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

pub(crate) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

pub(crate) fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
}

/// A pod in `shop`.
pub(crate) fn pod(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": app}},
        "spec": {"nodeName": "node-1", "containers": []},
        "status": {"phase": "Running"},
    })
}

/// The code by which a request was refused.
pub(crate) fn code<T: Debug>(result: kube::Result<T>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("not refused: {other:?}"),
    }
}

/// What kube's watcher knows, and what it said.
pub(crate) struct Mirror {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Name and version.
    objects: BTreeMap<String, String>,
    /// What a list that goes on has brought.
    listed: BTreeMap<String, String>,
    log: Vec<String>,
}

impl Mirror {
    /// Of all pods.
    pub(crate) async fn of_pods(api: &ApiServer, config: watcher::Config) -> Self {
        Self::of(Api::<Pod>::all(client(api).await), config)
    }

    pub(crate) fn of<K>(kind: Api<K>, config: watcher::Config) -> Self
    where
        K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let state = Arc::new(Mutex::new(State::default()));
        let own = state.clone();
        let task = tokio::spawn(async move {
            let mut stream = std::pin::pin!(watcher(kind, config));
            while let Some(event) = stream.next().await {
                let is_error = event.is_err();
                own.lock().expect("no panic").take(event);
                if is_error {
                    tokio::time::sleep(LOOK).await;
                }
            }
        });
        Self { state, task }
    }

    /// Waits until it knows what the server has.
    pub(crate) async fn converged(&self, api: &ApiServer, resource: Resource) {
        let there = || {
            let all = api.list(resource).into_iter();
            let all = all.map(|object| {
                let text =
                    |field: &str| object["metadata"][field].as_str().expect("text").to_owned();
                (text("name"), text("resourceVersion"))
            });
            all.collect::<BTreeMap<_, _>>()
        };
        self.until(|state| state.objects == there()).await;
    }

    /// Waits until it has said something so many times.
    pub(crate) async fn said(&self, what: &str, times: usize) {
        let count = |state: &State| state.log.iter().filter(|said| *said == what).count();
        self.until(|state| count(state) >= times).await;
    }

    /// All it has said since it was asked.
    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().expect("no panic").log)
    }

    async fn until(&self, is_there: impl Fn(&State) -> bool) {
        let look = async {
            while !is_there(&self.state.lock().expect("no panic")) {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(PATIENCE, look).await.is_err() {
            let state = self.state.lock().expect("no panic");
            panic!("knows {:?} and said {:?}", state.objects, state.log);
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn take<K: kube::Resource>(&mut self, event: watcher::Result<Event<K>>) {
        let named = |object: &K| {
            let meta = object.meta();
            let name = meta.name.clone().expect("a name");
            (name, meta.resource_version.clone().expect("a version"))
        };
        let said = match event {
            Ok(Event::Init) => {
                self.listed.clear();
                "(".to_owned()
            }
            Ok(Event::InitApply(object)) => {
                let (name, version) = named(&object);
                self.listed.insert(name.clone(), version);
                name
            }
            Ok(Event::InitDone) => {
                self.objects = std::mem::take(&mut self.listed);
                ")".to_owned()
            }
            Ok(Event::Apply(object)) => {
                let (name, version) = named(&object);
                self.objects.insert(name.clone(), version);
                format!("+{name}")
            }
            Ok(Event::Delete(object)) => {
                let (name, _) = named(&object);
                self.objects.remove(&name);
                format!("-{name}")
            }
            Err(error) => format!("! {}", status_code(&error)),
        };
        self.log.push(said);
    }
}

fn status_code(error: &watcher::Error) -> String {
    let status = match error {
        watcher::Error::WatchError(status) => status,
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status,
        _ => return "connection".to_owned(),
    };
    status.code.to_string()
}

/// Metadata only.
pub(crate) type Slim = PartialObjectMeta<Pod>;

pub(crate) fn names<K: ResourceExt>(objects: &[K]) -> Vec<String> {
    objects.iter().map(ResourceExt::name_any).collect()
}

/// As a client writes it.
pub(crate) fn new_pod(name: &str) -> Pod {
    Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Pod::default()
    }
}

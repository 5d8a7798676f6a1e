//! A Kubernetes Event on a NetworkPolicy that is refused, so that its author sees it by `kubectl describe`.
//!
//! Every node refuses the same version of a policy. The Event's name is made of what is refused, so that the API server
//! keeps one and answers the other nodes that it is there already.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::backoff::Backoff;
use super::index::{Refused, Remains};
use super::rights::Right;
use crate::names::fnv1a;

/// Events that wait to be sent; more are dropped, and said in the log.
const QUEUE: usize = 64;
/// Tries to send one, within about half a minute. A longer outage costs the Event: the log has what it says.
const TRIES: usize = 8;
/// The longest note that the API server takes is 1 kB.
const MAX_NOTE: usize = 1000;
/// What a name of 253 characters leaves for the policy's, beside a dot and the hash.
const MAX_NAME: usize = 253 - 17;
/// What this asks of the API server.
pub(super) const RIGHT: Right = Right {
    group: "events.k8s.io",
    resource: "events",
    verbs: &["create"],
};
const CONTROLLER: &str = "weir.dev/collector";

/// Takes refusals to the API server.
#[derive(Clone, Debug)]
pub(super) struct Reporter(mpsc::Sender<Refused>);

impl Reporter {
    /// Starts it; it ends with its last clone.
    pub(super) fn start(client: Client, node: String) -> Self {
        let (sender, mut refusals) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            while let Some(refused) = refusals.recv().await {
                send(&client, &refused, &node).await;
            }
        });
        Self(sender)
    }

    /// Reports a refusal.
    pub(super) fn report(&self, refused: Refused) {
        if let Err(error) = self.0.try_send(refused) {
            warn!(%error, "no Kubernetes Event for a refused NetworkPolicy");
        }
    }
}

async fn send(client: &Client, refused: &Refused, node: &str) {
    let events: Api<Event> = Api::namespaced(client.clone(), &refused.name.namespace);
    let (event, params) = (event(refused, node), PostParams::default());
    let mut backoff = Backoff::default();
    for left in (0..TRIES).rev() {
        match events.create(&params, &event).await {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if status.code == 409 => {
                debug!(policy = %refused.name, "another node has reported it");
                return;
            }
            Err(error) if left > 0 && is_passing(&error) => sleep(backoff.next(None)).await,
            Err(error) => {
                warn!(policy = %refused.name, %error, "cannot create a Kubernetes Event");
                return;
            }
        }
    }
}

/// Whether another try may do better.
fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        _ => true,
    }
}

fn event(refused: &Refused, node: &str) -> Event {
    let Refused {
        name,
        uid,
        why,
        version,
        ..
    } = refused;
    let hash = fnv1a(format!("{uid}/{version}").as_bytes());
    let stem: String = name.name.chars().take(MAX_NAME).collect();
    let stem = stem.trim_end_matches(['-', '.']);
    let effect = match refused.remains {
        Remains::LastGood => "its last good version stays in force",
        Remains::Nothing => "it has no effect",
    };
    let note: String = format!("{effect}: {why}").chars().take(MAX_NOTE).collect();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{stem}.{hash:016x}")),
            namespace: Some(name.namespace.to_string()),
            ..ObjectMeta::default()
        },
        action: Some("Compile".to_owned()),
        event_time: Some(MicroTime(Timestamp::now())),
        note: Some(note),
        reason: Some("Refused".to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("networking.k8s.io/v1".to_owned()),
            kind: Some(refused.kind.to_string()),
            name: Some(name.name.to_string()),
            namespace: Some(name.namespace.to_string()),
            resource_version: Some(version.to_string()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(node.chars().take(128).collect()),
        type_: Some("Warning".to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use weir_policy::model::{Kind, Name};

    use super::*;

    fn refused(version: u64) -> Refused {
        Refused {
            kind: Kind::NetworkPolicy,
            name: Name::new("shop", "p"),
            uid: "u-1".to_owned(),
            version,
            why: "spec.new: unknown field".into(),
            remains: Remains::LastGood,
        }
    }

    #[test]
    fn all_nodes_give_one_name_to_the_refusal_of_one_version() {
        let name = |event: Event| event.metadata.name.unwrap();
        let (here, there) = (event(&refused(7), "node-1"), event(&refused(7), "node-2"));
        assert_eq!(name(here), name(there));
        assert_ne!(name(event(&refused(7), "n")), name(event(&refused(8), "n")));
    }

    #[test]
    fn an_event_stays_within_what_the_api_server_takes() {
        let long = Refused {
            name: Name::new("shop", "a".repeat(230) + "-------" + &"b".repeat(16)),
            why: "x".repeat(5000).into(),
            ..refused(7)
        };
        let event = event(&long, &"n".repeat(253));
        assert!(event.note.unwrap().len() <= 1024);
        assert!(event.reporting_instance.unwrap().len() <= 128);
        let name = event.metadata.name.unwrap();
        assert!(name.len() <= 253 && !name.contains("-."), "{name}");
    }
}

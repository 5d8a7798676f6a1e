//! Certificates in Secrets of the type `kubernetes.io/tls`. A Secret is written as a whole or not at all.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use weir_collector::source;

use super::bundle::Identity;
use super::error::CertsError;
use super::role::Role;

const TYPE: &str = "kubernetes.io/tls";
/// Where cert-manager says that a Secret is its.
const CERT_MANAGER: &str = "cert-manager.io/certificate-name";

/// The Secrets of a namespace.
pub(super) struct Secrets {
    api: Api<Secret>,
    namespace: String,
}

impl Secrets {
    /// Those that the API server of a kubeconfig, or of this pod, has.
    pub(super) async fn connect(
        kubeconfig: Option<&Path>,
        namespace: &str,
    ) -> Result<Self, CertsError> {
        let client = source::connect(kubeconfig).await?;
        Ok(Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
        })
    }

    pub(super) fn place(&self, role: Role) -> String {
        format!("Secret {}/{}", self.namespace, role.secret())
    }

    /// What is there. A missing file is empty.
    pub(super) async fn load(&self, role: Role) -> Result<Option<Identity>, CertsError> {
        let Some(secret) = self.get(role).await? else {
            return Ok(None);
        };
        let data = secret.data.unwrap_or_default();
        let text = |name: &str| {
            let bytes = data.get(name).map(|bytes| bytes.0.as_slice());
            String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
        };
        Ok(Some(Identity {
            certificate: text("tls.crt"),
            key: text("tls.key"),
            authority: text("ca.crt"),
        }))
    }

    pub(super) async fn create(&self, role: Role, identity: &Identity) -> Result<(), CertsError> {
        let labels = [("app.kubernetes.io/part-of", "weir")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(role.secret().to_owned()),
                labels: Some(BTreeMap::from(labels)),
                ..ObjectMeta::default()
            },
            type_: Some(TYPE.to_owned()),
            data: Some(data(identity)),
            ..Secret::default()
        };
        let created = self.api.create(&PostParams::default(), &secret).await;
        created.map(drop).map_err(self.failed("create", role))
    }

    /// Only if nobody has changed it meanwhile.
    pub(super) async fn replace(&self, role: Role, identity: &Identity) -> Result<(), CertsError> {
        let place = self.place(role);
        let there = self.get(role).await?;
        let there = there.ok_or(CertsError::Overtaken { place })?;
        let secret = Secret {
            data: Some(data(identity)),
            ..there
        };
        let replaced = self
            .api
            .replace(role.secret(), &PostParams::default(), &secret)
            .await;
        replaced.map(drop).map_err(self.failed("update", role))
    }

    async fn get(&self, role: Role) -> Result<Option<Secret>, CertsError> {
        let secret = self.api.get_opt(role.secret()).await;
        let secret = secret.map_err(self.failed("get", role))?;
        if let Some(secret) = &secret {
            self.is_ours(role, secret)?;
        }
        Ok(secret)
    }

    fn is_ours(&self, role: Role, secret: &Secret) -> Result<(), CertsError> {
        let annotations = secret.metadata.annotations.as_ref();
        let kind = secret.type_.as_deref().unwrap_or("Opaque");
        let reason = if annotations.is_some_and(|there| there.contains_key(CERT_MANAGER)) {
            "cert-manager keeps it".to_owned()
        } else if kind != TYPE {
            format!("its type is {kind}")
        } else {
            return Ok(());
        };
        Err(CertsError::Foreign {
            place: self.place(role),
            reason,
        })
    }

    fn failed(&self, verb: &'static str, role: Role) -> impl FnOnce(kube::Error) -> CertsError {
        let place = self.place(role);
        move |source| match source {
            kube::Error::Api(status) if status.code == 409 => CertsError::Overtaken { place },
            source => CertsError::Api {
                verb,
                place,
                source,
            },
        }
    }
}

fn data(identity: &Identity) -> BTreeMap<String, ByteString> {
    let files = [
        ("tls.crt", &identity.certificate),
        ("tls.key", &identity.key),
        ("ca.crt", &identity.authority),
    ];
    let file = |(name, text): (&str, &String)| (name.to_owned(), ByteString(text.clone().into()));
    files.map(file).into()
}

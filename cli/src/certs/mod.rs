//! `weir certs init`: a CA and the certificates of a Weir, made once and renewed in time, in a directory or in Secrets.
//!
//! Each certificate is stored with its key and its CA at once: nobody ever finds half of them. The CA is never replaced.

mod bundle;
mod directory;
mod error;
mod issue;
mod role;
mod secrets;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::time::SystemTime;

use crate::args::CertsInitArgs;
use crate::output;

use bundle::{Flaw, Identity};
use directory::Directory;
use error::CertsError;
use issue::Authority;
use role::{Role, ServerNames};
use secrets::Secrets;

/// The namespace of `deploy/`, which names of Services are made of.
const NAMESPACE: &str = "weir";
/// How often is begun anew when somebody else does the same at the same time.
const ATTEMPTS: usize = 5;

/// Where they are kept.
enum Store {
    Directory(Directory),
    Secrets(Box<Secrets>),
}

/// What was done about one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Done {
    Made,
    Kept,
    Renewed(Flaw),
}

/// One certificate, and until when it is valid.
#[derive(Clone, Debug)]
struct Line {
    name: &'static str,
    done: Done,
    until: SystemTime,
}

/// Makes what is missing, renews what is old or wrong, and says so.
///
/// # Errors
/// A directory or an API server that refuses, a CA that cannot be used.
pub(crate) async fn init(args: &CertsInitArgs) -> anyhow::Result<()> {
    let (store, namespace) = match (&args.dir, &args.namespace) {
        (Some(directory), _) => (Store::Directory(Directory::new(directory)), NAMESPACE),
        (None, namespace) => {
            let namespace = namespace.as_deref().unwrap_or(NAMESPACE);
            let secrets = Secrets::connect(args.kubeconfig.as_deref(), namespace).await?;
            (Store::Secrets(Box::new(secrets)), namespace)
        }
    };
    let names = ServerNames::new(namespace, &args.server_names);
    let lines = keep(&store, &names, SystemTime::now()).await?;
    Ok(output::text(&report(&lines))?)
}

/// Brings the store into order.
async fn keep(
    store: &Store,
    names: &ServerNames,
    now: SystemTime,
) -> Result<Vec<Line>, CertsError> {
    let mut attempt = 1;
    loop {
        match keep_once(store, names, now).await {
            Err(CertsError::Overtaken { .. }) if attempt < ATTEMPTS => attempt += 1,
            ended => return ended,
        }
    }
}

async fn keep_once(
    store: &Store,
    names: &ServerNames,
    now: SystemTime,
) -> Result<Vec<Line>, CertsError> {
    let (authority, made) = match store.load(Role::Authority).await? {
        Some(identity) => {
            let place = store.place(Role::Authority);
            (Authority::open(identity, &place, now)?, Done::Kept)
        }
        None => {
            let authority = Authority::new(now)?;
            let identity = authority.identity();
            store.put(Role::Authority, identity, Done::Made).await?;
            (authority, Done::Made)
        }
    };
    let mut lines = vec![Line {
        name: Role::Authority.secret(),
        done: made,
        until: authority.until(),
    }];
    for role in Role::LEAVES {
        let wanted = names.of(role);
        let found = store.load(role).await?;
        let flaw = found
            .as_ref()
            .map(|identity| identity.flaw(&authority.identity().certificate, &wanted, now));
        let done = match flaw {
            None => Done::Made,
            Some(None) => Done::Kept,
            Some(Some(flaw)) => Done::Renewed(flaw),
        };
        let identity = match found {
            Some(identity) if done == Done::Kept => identity,
            _ => {
                let identity = authority.issue(role, &wanted, now)?;
                store.put(role, &identity, done.clone()).await?;
                identity
            }
        };
        lines.push(Line {
            name: role.secret(),
            done,
            until: identity.until().unwrap_or(now),
        });
    }
    Ok(lines)
}

impl Store {
    async fn load(&self, role: Role) -> Result<Option<Identity>, CertsError> {
        match self {
            Self::Directory(directory) => directory.load(role),
            Self::Secrets(secrets) => secrets.load(role).await,
        }
    }

    async fn put(&self, role: Role, identity: &Identity, done: Done) -> Result<(), CertsError> {
        match self {
            Self::Directory(directory) => directory.put(role, identity),
            Self::Secrets(secrets) if done == Done::Made => secrets.create(role, identity).await,
            Self::Secrets(secrets) => secrets.replace(role, identity).await,
        }
    }

    fn place(&self, role: Role) -> String {
        match self {
            Self::Directory(directory) => directory.place(role),
            Self::Secrets(secrets) => secrets.place(role),
        }
    }
}

fn report(lines: &[Line]) -> String {
    let mut text = String::new();
    for Line { name, done, until } in lines {
        let done = match done {
            Done::Made => "made".to_owned(),
            Done::Kept => "kept".to_owned(),
            Done::Renewed(flaw) => format!("renewed: {flaw}"),
        };
        let until = jiff::Timestamp::try_from(*until).map(|until| until.strftime("%Y-%m-%d"));
        let until = until.map_or_else(|_| "-".to_owned(), |until| until.to_string());
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{name}: {done}, valid until {until}");
    }
    text
}

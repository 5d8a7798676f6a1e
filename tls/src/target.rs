//! A gRPC server that is connected to, with TLS or without.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::either::Either;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tower::{ServiceExt, service_fn};

use crate::cause::{Explained, FirstWord};
use crate::client::{ClientFiles, ClientTls};
use crate::{TlsError, cause};

/// A server that is there speaks sooner.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Target {
    endpoint: Endpoint,
    tls: Option<ClientTls>,
}

impl Target {
    /// The server at `http://host:port`, or with TLS at `https://host:port`. `settings` are the connection's.
    ///
    /// # Errors
    /// [`TlsError`]: a URL that is none, files that cannot be used, files for a connection without TLS.
    pub fn new(
        url: &str,
        files: Option<ClientFiles>,
        settings: impl FnOnce(Endpoint) -> Endpoint,
    ) -> Result<Self, TlsError> {
        let wrong = |source| TlsError::Address {
            url: url.to_owned(),
            source,
        };
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(wrong)?;
        let uri = endpoint.uri().clone();
        let scheme = || TlsError::Scheme {
            url: url.to_owned(),
        };
        let authority = uri.authority().ok_or_else(scheme)?;
        let tls = match uri.scheme_str() {
            Some("https") => Some(files.unwrap_or_default().load(authority.host())?),
            Some("http") if files.is_none() => None,
            Some("http") => {
                return Err(TlsError::PlainText {
                    url: url.to_owned(),
                });
            }
            _ => return Err(scheme()),
        };
        // tonic refuses https where it does not make TLS itself: it is told only what to say to the server.
        let place = Endpoint::from_shared(format!("http://{authority}")).map_err(wrong)?;
        Ok(Self {
            endpoint: settings(place.origin(uri)),
            tls,
        })
    }

    /// Connects, and waits until the server has said its first word: in TLS 1.3 it refuses a client's certificate only when
    /// the client is done. Renewed certificates are taken up, also when the channel connects again for a later call.
    ///
    /// # Errors
    /// Why not, in words for people.
    pub async fn connect(&self) -> Result<Channel, String> {
        let tls = self.tls.clone();
        let (first, word) = oneshot::channel();
        let first = Mutex::new(Some(first));
        let dial = service_fn(move |uri: Uri| {
            let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            dial(
                uri,
                tls.clone(),
                first.unwrap_or_else(|| oneshot::channel().0),
            )
        });
        let connected = self.endpoint.connect_with_connector(dial).await;
        let channel = connected.map_err(|error| cause(&error))?;
        match timeout(PATIENCE, word).await {
            Ok(Ok(word)) => word.map(|()| channel),
            Ok(Err(_)) => Err("the connection ended at once".to_owned()),
            Err(_) => Err(format!("the server has said nothing for {PATIENCE:?}")),
        }
    }
}

async fn dial(
    uri: Uri,
    tls: Option<ClientTls>,
    first: FirstWord,
) -> Result<TokioIo<impl tokio::io::AsyncRead + tokio::io::AsyncWrite>, Box<dyn Error + Send + Sync>>
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let stream = connector.oneshot(uri).await?.into_inner();
    let stream = match tls {
        None => Either::Left(stream),
        Some(tls) => Either::Right(tls.connect(stream).await?),
    };
    Ok(TokioIo::new(Explained::new(stream, first)))
}

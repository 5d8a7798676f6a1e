//! Why a connection failed, in words that say what to do.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::{AlertDescription, CertificateError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// The first byte of a TLS alert, which is what a TLS server answers plain text with. HTTP/2 begins with the length of a
/// small frame, which is 0.
const ALERT: u8 = 21;

const WANTS_TLS: &str = "the server speaks TLS, and it was spoken to in plain text";
const NOT_TRUSTED: &str = "the server's certificate is of a CA that is not trusted here";
const SILENT: &str = "the server ended the connection without a word";
const NO_TLS: &str = "the server does not speak TLS at this address";

/// What is at the bottom of an error: tonic and hyper say "transport error" and no more.
pub fn cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(below) = below(cause) {
        cause = below;
    }
    in_words(cause).unwrap_or_else(|| cause.to_string())
}

/// The same for a call: why its connection broke, or what the server said.
pub fn status_cause(status: &tonic::Status) -> String {
    match status.source() {
        Some(source) => cause(source),
        None => status.message().to_owned(),
    }
}

/// An [`io::Error`] passes over the error that it was made of.
fn below<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let inner = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match inner {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn in_words(error: &(dyn Error + 'static)) -> Option<String> {
    match error.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidMessage(_) => Some(NO_TLS.to_owned()),
        // A signature is bad when another CA has the same name, as one that replaced another.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => Some(NOT_TRUSTED.to_owned()),
        rustls::Error::AlertReceived(alert) => Some(alerted(*alert)),
        _ => None,
    }
}

fn alerted(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the server wants a client certificate, and none was given".to_owned()
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "the server does not trust the CA of the client certificate".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "the server says that the client certificate has expired".to_owned()
        }
        alert => format!("the server refused the TLS connection: {alert:?}"),
    }
}

/// What is heard first of a server: that it speaks HTTP/2, as it must once it is spoken to, or why it does not.
pub(crate) type FirstWord = oneshot::Sender<Result<(), String>>;

/// A connection whose end says why. HTTP/2 keeps no more of an error than its text, if that.
pub(crate) struct Explained<S> {
    stream: S,
    /// None once something has come.
    first: Option<FirstWord>,
}

impl<S: AsyncRead + Unpin> Explained<S> {
    pub(crate) fn new(stream: S, first: FirstWord) -> Self {
        Self {
            stream,
            first: Some(first),
        }
    }

    /// Why a connection was closed before anything came is told by reading: until then what cannot be written is passed
    /// over.
    fn or_read<T>(&self, written: io::Result<T>, passed_over: T) -> io::Result<T> {
        match written {
            Err(_) if self.first.is_some() => Ok(passed_over),
            written => written,
        }
    }

    /// What the first read says.
    fn hear(&mut self, read: io::Result<Option<u8>>) -> io::Result<()> {
        let heard = match read {
            Ok(Some(ALERT)) if self.first.is_some() => Err(io::Error::other(WANTS_TLS)),
            Ok(None) if self.first.is_some() => Err(io::Error::other(SILENT)),
            read => read.map(drop),
        };
        if let Some(first) = self.first.take() {
            let word = heard.as_ref().copied().map_err(ToString::to_string);
            // Nobody waits for it when a channel connects again.
            first.send(word).ok();
        }
        heard
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        let first = read.map(|()| buffer.filled().get(before).copied());
        Poll::Ready(self.hear(first.map_err(explain)))
    }
}

fn explain(error: io::Error) -> io::Error {
    let words = error.get_ref().and_then(|inner| in_words(inner));
    words.map_or(error, io::Error::other)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        Poll::Ready(self.or_read(written, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices));
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        Poll::Ready(self.or_read(written, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(context));
        Poll::Ready(self.or_read(flushed, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

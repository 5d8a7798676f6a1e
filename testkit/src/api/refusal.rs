//! What clients are told when something is not done: a `Status` of meta/v1, with the codes, reasons and words of the real server.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{Resource, object::Key, stats::Verb};

/// A request that is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{} {name:?} not found", .resource.qualified())]
    NotFound { resource: Resource, name: String },
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    #[error("the server does not allow this method on the requested resource")]
    Method,
    #[error("Unauthorized")]
    Unauthorized,
    #[error("{} is forbidden: User {user:?} cannot {verb} resource {:?} in API group {:?} {scope}", .resource.qualified(), .resource.plural(), .resource.group())]
    Forbidden {
        user: String,
        verb: Verb,
        resource: Resource,
        /// "in the namespace …" or "at the cluster scope".
        scope: String,
    },
    #[error("{} {:?} already exists", .resource.qualified(), .key.name)]
    AlreadyExists { resource: Resource, key: Key },
    #[error("Operation cannot be fulfilled on {} {:?}: the object has been modified; please apply your changes to the latest version and try again", .resource.qualified(), .key.name)]
    Conflict { resource: Resource, key: Key },
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    Invalid(String),
    #[error("the body of the request was in an unknown format - accepted media types include: {0}")]
    MediaType(&'static str),
    #[error("{0}")]
    Expired(String),
    #[error("Too large resource version: {asked}, current: {current}")]
    FutureVersion { asked: u64, current: u64 },
    #[error("the server is currently unable to handle the request")]
    Unavailable,
}

// === impl Refusal ===

impl Refusal {
    /// A watch whose beginning is forgotten.
    pub(super) fn too_old(asked: u64, oldest: u64) -> Self {
        Self::Expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// A page of a list that is forgotten.
    pub(super) fn continue_too_old() -> Self {
        let why = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.";
        Self::Expired(why.to_owned())
    }

    /// The HTTP code and the `reason` of the Status.
    pub(super) fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound { .. } | Self::NoSuchPath => (StatusCode::NOT_FOUND, "NotFound"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::Forbidden { .. } => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::AlreadyExists { .. } => (StatusCode::CONFLICT, "AlreadyExists"),
            Self::Conflict { .. } => (StatusCode::CONFLICT, "Conflict"),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
            Self::MediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType"),
            Self::Expired(_) => (StatusCode::GONE, "Expired"),
            Self::FutureVersion { .. } => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        }
    }

    /// The Status.
    pub(super) fn body(&self) -> Value {
        let (code, reason) = self.code();
        let mut body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.to_string(),
            "reason": reason,
            "code": code.as_u16(),
        });
        match self {
            Self::NotFound { resource, name }
            | Self::AlreadyExists {
                resource,
                key: Key { name, .. },
            }
            | Self::Conflict {
                resource,
                key: Key { name, .. },
            } => {
                body["details"] =
                    json!({"name": name, "group": resource.group(), "kind": resource.plural()});
            }
            Self::Forbidden { resource, .. } => {
                body["details"] = json!({"group": resource.group(), "kind": resource.plural()});
            }
            Self::FutureVersion { .. } => {
                let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
                body["details"] = json!({"causes": [cause], "retryAfterSeconds": 1});
            }
            _ => {}
        }
        body
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, _) = self.code();
        answer(code, &self.body())
    }
}

/// An answer with a JSON body.
pub(super) fn answer(code: StatusCode, body: &Value) -> Response {
    let mut response = (code, body.to_string()).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

//! From a request to its answer.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State as Extract},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::{
    Outage, Verb, WatchErrors,
    discovery::discover,
    list::Page,
    object::seen,
    rbac::Deed,
    refusal::{Refusal, answer},
    request::{Params, Target, view},
    selector::Selector,
    state::{Shared, State},
    stats::RefusedRequest,
    watch::{Watch, error_line},
    write::{find, write},
};

/// The largest body that is taken, as by the real server.
const MAX_BODY: usize = 3 << 20;

/// The whole server.
pub(super) fn router(shared: Shared) -> Router {
    Router::new().fallback(serve).with_state(shared)
}

async fn serve(Extract(shared): Extract<Shared>, request: Request) -> Response {
    let result = respond(&shared, request).await;
    result.unwrap_or_else(IntoResponse::into_response)
}

async fn respond(shared: &Shared, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    {
        let mut state = shared.lock();
        if state.faults.outage == Some(Outage::Unavailable) {
            state.stats.unavailable += 1;
            return Err(Refusal::Unavailable);
        }
    }
    if matches!(path, "/healthz" | "/livez" | "/readyz") {
        return Ok("ok".into_response());
    }
    if let Some(found) = discover(path) {
        authenticated(&shared.lock(), &parts.headers)?;
        return Ok(answer(StatusCode::OK, &found));
    }
    let target = Target::parse(path).ok_or(Refusal::NoSuchPath)?;
    let params = Params::parse(&parts.uri)?;
    let verb = target.verb(&parts.method, &params)?;
    let selector = Selector::parse(
        target.resource,
        target.namespace.clone(),
        &params.label_selector,
        &params.field_selector,
    );
    authorize(shared, &parts, verb, &target, selector.as_ref().ok())?;
    let selector = selector?;
    let view = view(&parts.headers);
    match verb {
        Verb::Get => {
            let object = find(&shared.lock(), &target)?;
            Ok(answer(StatusCode::OK, &seen(&object, view)))
        }
        Verb::List => {
            let page = Page::take(&mut shared.lock(), target.resource, &selector, &params)?;
            Ok(json(Body::from(page.render(view))))
        }
        Verb::Watch => {
            let watch = Watch::begin(shared, target.resource, selector, &params, view);
            match watch {
                Ok(watch) => Ok(json(Body::from_stream(watch.into_stream()))),
                Err(refusal) => refuse_watch(shared, refusal),
            }
        }
        Verb::Create | Verb::Update | Verb::Patch | Verb::Delete => {
            let body = to_bytes(body, MAX_BODY).await;
            let body = body.map_err(|error| Refusal::BadRequest(error.to_string()))?;
            let done = shared.change(|state| write(state, verb, &target, &parts.headers, &body));
            let (code, body) = done?;
            Ok(answer(code, &body))
        }
    }
}

/// Says that a watch cannot begin, in the way that the settings ask for.
fn refuse_watch(shared: &Shared, refusal: Refusal) -> Result<Response, Refusal> {
    let is_version = matches!(refusal, Refusal::Expired(_) | Refusal::FutureVersion { .. });
    let errors = shared.lock().faults.settings.watch_errors;
    if is_version && errors == WatchErrors::AsEvent {
        return Ok(json(Body::from(error_line(&refusal))));
    }
    Err(refusal)
}

/// Counts the request and refuses it if RBAC does.
fn authorize(
    shared: &Shared,
    parts: &Parts,
    verb: Verb,
    target: &Target,
    selector: Option<&Selector>,
) -> Result<(), Refusal> {
    let mut state = shared.lock();
    let requests = &mut state.stats.requests;
    *requests.entry((verb, target.resource)).or_default() += 1;
    if state.rights.is_empty() {
        return Ok(());
    }
    let token = authenticated(&state, &parts.headers)?;
    let rights = token.and_then(|token| state.rights.get(token));
    let deed = Deed {
        verb,
        resource: target.resource,
        namespace: target.namespace.as_deref(),
        name: target.name.as_deref().or(selector.and_then(Selector::name)),
    };
    if rights.is_some_and(|rights| rights.allow(deed)) {
        return Ok(());
    }
    let user = rights.map_or("system:anonymous", |rights| rights.user());
    let user = user.to_owned();
    state.stats.refuse(RefusedRequest {
        user: user.clone(),
        verb,
        resource: target.resource,
        namespace: target.namespace.clone().unwrap_or_default(),
    });
    Err(Refusal::Forbidden {
        user,
        verb,
        resource: target.resource,
        scope: match &target.namespace {
            Some(namespace) => format!("in the namespace {namespace:?}"),
            None => "at the cluster scope".to_owned(),
        },
    })
}

/// The token of the request, if it has one. One that nobody has is refused.
fn authenticated<'h>(state: &State, headers: &'h HeaderMap) -> Result<Option<&'h str>, Refusal> {
    let header = headers.get(header::AUTHORIZATION);
    let token = header
        .and_then(|header| header.to_str().ok())
        .and_then(|header| header.strip_prefix("Bearer "));
    match token {
        Some(token) if !state.rights.is_empty() && !state.rights.contains_key(token) => {
            Err(Refusal::Unauthorized)
        }
        token => Ok(token),
    }
}

fn json(body: Body) -> Response {
    let mut response = Response::new(body);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

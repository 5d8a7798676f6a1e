//! Changes that clients ask for.

use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode, header},
};
use serde_json::{Value, json};

use super::{
    ApiError, Resource, Verb,
    object::{Key, Object, merge, text},
    refusal::Refusal,
    request::Target,
    state::State,
};

/// Does it, and returns the code and the body of the answer.
pub(super) fn write(
    state: &mut State,
    verb: Verb,
    target: &Target,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(StatusCode, Value), Refusal> {
    match verb {
        Verb::Create => create(state, target, json(body)?),
        Verb::Update => update(state, target, json(body)?),
        Verb::Patch => {
            let kind = headers.get(header::CONTENT_TYPE);
            if kind.is_none_or(|kind| kind != "application/merge-patch+json") {
                return Err(Refusal::MediaType("application/merge-patch+json"));
            }
            patch(state, target, json(body)?)
        }
        Verb::Delete => delete(state, target, body),
        Verb::Get | Verb::List | Verb::Watch => Err(Refusal::Method),
    }
}

fn create(
    state: &mut State,
    target: &Target,
    mut value: Value,
) -> Result<(StatusCode, Value), Refusal> {
    let prefix = text(&value, "/metadata/generateName").to_owned();
    if text(&value, "/metadata/name").is_empty() && !prefix.is_empty() {
        let suffix: String = std::iter::repeat_with(|| fastrand::char('a'..='z'))
            .take(5)
            .collect();
        value["metadata"]["name"] = format!("{prefix}{suffix}").into();
    }
    if !text(&value, "/metadata/resourceVersion").is_empty() {
        let why = "resourceVersion should not be set on objects to be created";
        return Err(Refusal::BadRequest(why.to_owned()));
    }
    let object = placed(target, value)?;
    let key = object.key.clone();
    let home = Key::new("", &key.namespace);
    if !key.namespace.is_empty() && state.store.get(Resource::Namespaces, &home).is_none() {
        return Err(Refusal::NotFound {
            resource: Resource::Namespaces,
            name: key.namespace,
        });
    }
    let resource = target.resource;
    if state.store.get(resource, &key).is_some() {
        return Err(Refusal::AlreadyExists { resource, key });
    }
    Ok((
        StatusCode::CREATED,
        state.store.put(object).as_ref().clone(),
    ))
}

fn update(
    state: &mut State,
    target: &Target,
    value: Value,
) -> Result<(StatusCode, Value), Refusal> {
    let object = placed(target, value)?;
    let resource = target.resource;
    let there = find(state, target)?;
    let asked = text(&object.value, "/metadata/resourceVersion");
    if !asked.is_empty() && asked != text(&there, "/metadata/resourceVersion") {
        let key = object.key;
        return Err(Refusal::Conflict { resource, key });
    }
    Ok((StatusCode::OK, state.store.put(object).as_ref().clone()))
}

fn patch(state: &mut State, target: &Target, patch: Value) -> Result<(StatusCode, Value), Refusal> {
    let mut value = find(state, target)?;
    merge(&mut value, patch);
    update(state, target, value)
}

fn delete(
    state: &mut State,
    target: &Target,
    body: &Bytes,
) -> Result<(StatusCode, Value), Refusal> {
    let there = find(state, target)?;
    let options = if body.is_empty() {
        Value::Null
    } else {
        json(body)?
    };
    let wanted = text(&options, "/preconditions/uid");
    let resource = target.resource;
    let key = key(target);
    if !wanted.is_empty() && wanted != text(&there, "/metadata/uid") {
        return Err(Refusal::Conflict { resource, key });
    }
    state.store.remove(resource, &key);
    let details = json!({
        "name": key.name,
        "group": resource.group(),
        "kind": resource.plural(),
        "uid": there["metadata"]["uid"],
    });
    let done = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    });
    Ok((StatusCode::OK, done))
}

/// The object that the path names.
pub(super) fn find(state: &State, target: &Target) -> Result<Value, Refusal> {
    let key = key(target);
    let missing = || Refusal::NotFound {
        resource: target.resource,
        name: key.name.clone(),
    };
    let object = state.store.get(target.resource, &key).ok_or_else(missing)?;
    Ok(object.as_ref().clone())
}

fn key(target: &Target) -> Key {
    let namespace = target.namespace.as_deref().unwrap_or_default();
    Key::new(namespace, target.name.as_deref().unwrap_or_default())
}

fn json(body: &Bytes) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::BadRequest(error.to_string()))
}

/// The object of a body, which must be what the path says. What the path says need not be said again.
fn placed(target: &Target, mut value: Value) -> Result<Object, Refusal> {
    let bad = |why: String| Err(Refusal::BadRequest(why));
    if !value.is_object() || !value["metadata"].is_object() {
        return bad("the body is no object of the API".to_owned());
    }
    let resource = target.resource;
    let (kind, version) = (resource.kind(), resource.api_version());
    for (field, said) in [("kind", kind), ("apiVersion", &version)] {
        match value[field].as_str().unwrap_or_default() {
            "" => value[field] = said.into(),
            it if it == said => {}
            it => {
                return bad(format!(
                    "{field} is {it:?}, and the path is of a {kind} of {version}"
                ));
            }
        }
    }
    let path = [("namespace", &target.namespace), ("name", &target.name)];
    for (field, said) in path {
        let Some(said) = said else { continue };
        match value["metadata"][field].as_str().unwrap_or_default() {
            "" => value["metadata"][field] = said.as_str().into(),
            it if it == said => {}
            it => {
                return bad(format!(
                    "the {field} of the provided object ({it}) does not match the {field} sent on the request ({said})"
                ));
            }
        }
    }
    Object::new(value).map_err(|error| match error {
        ApiError::NoName { .. } => Refusal::Invalid(format!(
            "{kind} is invalid: metadata.name: Required value: name or generateName is required"
        )),
        other => Refusal::BadRequest(other.to_string()),
    })
}

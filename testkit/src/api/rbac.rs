//! Who may do what: rules of roles, as <https://kubernetes.io/docs/reference/access-authn-authz/rbac/> has them.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{ApiError, Resource, Verb};

/// What a bearer token allows.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    user: String,
    grants: Vec<Grant>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deed<'a> {
    pub(super) verb: Verb,
    pub(super) resource: Resource,
    /// None for the whole cluster.
    pub(super) namespace: Option<&'a str>,
    /// None for all.
    pub(super) name: Option<&'a str>,
}

#[derive(Clone, Debug)]
struct Grant {
    /// None for the whole cluster.
    namespace: Option<String>,
    rule: Rule,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
    resource_names: Vec<String>,
}

/// A role, a binding, or something else.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    kind: String,
    metadata: Name,
    rules: Vec<Rule>,
    role_ref: Name,
    subjects: Vec<Name>,
}

/// What names an object, a role or a subject.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Name {
    kind: String,
    name: String,
    namespace: String,
}

// === impl Rights ===

impl Rights {
    /// All rules of the ClusterRoles in YAML text, for the whole cluster, and of the Roles, each for its namespace. Other
    /// documents are passed over.
    ///
    /// # Errors
    /// [`ApiError::Yaml`].
    pub fn of_roles(user: &str, yaml: &str) -> Result<Self, ApiError> {
        let mut rights = Self::none(user);
        for role in documents(yaml)? {
            match role.kind.as_str() {
                "ClusterRole" => rights.grant(None, &role),
                "Role" => rights.grant(Some(&role.metadata.namespace), &role),
                _ => {}
            }
        }
        Ok(rights)
    }

    /// What a service account may do by the roles in YAML text that are bound to it there.
    ///
    /// # Errors
    /// [`ApiError::Yaml`], or [`ApiError::NoSuchRole`] if a role is bound that the text does not have.
    pub fn of_service_account(namespace: &str, name: &str, yaml: &str) -> Result<Self, ApiError> {
        let documents = documents(yaml)?;
        let mut rights = Self::none(&format!("system:serviceaccount:{namespace}:{name}"));
        for binding in &documents {
            let place = match binding.kind.as_str() {
                "ClusterRoleBinding" => None,
                "RoleBinding" => Some(binding.metadata.namespace.as_str()),
                _ => continue,
            };
            let is_bound = binding.subjects.iter().any(|subject| {
                subject.kind == "ServiceAccount"
                    && subject.name == name
                    && subject.namespace == namespace
            });
            if is_bound {
                rights.grant(place, role_of(binding, &documents)?);
            }
        }
        Ok(rights)
    }

    /// What is granted, one verb on one resource at a time: `list pods`, `create events.events.k8s.io`. Where, and to which
    /// names it is limited, is not said.
    pub fn granted(&self) -> BTreeSet<String> {
        let rules = self.grants.iter().map(|grant| &grant.rule);
        let all = rules.flat_map(|rule| {
            let Rule {
                api_groups,
                resources,
                verbs,
                ..
            } = rule;
            let places = api_groups.iter().flat_map(|group| {
                let dot = if group.is_empty() { "" } else { "." };
                resources
                    .iter()
                    .map(move |resource| format!("{resource}{dot}{group}"))
            });
            places.flat_map(|place| verbs.iter().map(move |verb| format!("{verb} {place}")))
        });
        all.collect()
    }

    fn none(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            grants: Vec::new(),
        }
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    pub(super) fn allow(&self, deed: Deed<'_>) -> bool {
        self.grants.iter().any(|grant| grant.allows(deed))
    }

    fn grant(&mut self, namespace: Option<&str>, role: &Document) {
        let rules = role.rules.iter().cloned();
        self.grants.extend(rules.map(|rule| Grant {
            namespace: namespace.map(str::to_owned),
            rule,
        }));
    }
}

impl Grant {
    fn allows(&self, deed: Deed<'_>) -> bool {
        let is_here = match &self.namespace {
            None => true,
            Some(here) => deed.namespace == Some(here),
        };
        let has = |list: &[String], wanted: &str| list.iter().any(|it| it == "*" || it == wanted);
        let names = &self.rule.resource_names;
        let is_named = names.is_empty()
            || deed
                .name
                .is_some_and(|name| names.iter().any(|it| it == name));
        is_here
            && is_named
            && has(&self.rule.verbs, deed.verb.as_str())
            && has(&self.rule.api_groups, deed.resource.group())
            && has(&self.rule.resources, deed.resource.plural())
    }
}

fn documents(yaml: &str) -> Result<Vec<Document>, ApiError> {
    serde_saphyr::from_multiple(yaml).map_err(|source| ApiError::Yaml {
        origin: "the roles".to_owned(),
        source: Box::new(source),
    })
}

fn role_of<'d>(binding: &Document, documents: &'d [Document]) -> Result<&'d Document, ApiError> {
    let wanted = &binding.role_ref;
    let is_it = |role: &&Document| {
        let is_near = role.kind != "Role" || role.metadata.namespace == binding.metadata.namespace;
        role.kind == wanted.kind && role.metadata.name == wanted.name && is_near
    };
    let missing = || ApiError::NoSuchRole {
        binding: format!("{} {}", binding.kind, binding.metadata.name),
        role: format!("{} {}", wanted.kind, wanted.name),
    };
    documents.iter().find(is_it).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = r#"
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: [pods], verbs: [list, watch]}
- {apiGroups: [apps], resources: ["*"], verbs: ["*"]}
---
kind: Role
metadata: {name: one, namespace: shop}
rules:
- {apiGroups: [""], resources: [pods], resourceNames: [a], verbs: [get, list]}
---
kind: ClusterRoleBinding
metadata: {name: all}
roleRef: {kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: x, namespace: weir}]
---
kind: RoleBinding
metadata: {name: here, namespace: shop}
roleRef: {kind: Role, name: one}
subjects: [{kind: ServiceAccount, name: y, namespace: weir}]
---
kind: RoleBinding
metadata: {name: there, namespace: bar}
roleRef: {kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: y, namespace: weir}]
"#;

    fn deed<'a>(verb: Verb, resource: Resource, place: &[&'a str]) -> Deed<'a> {
        Deed {
            verb,
            resource,
            namespace: place.first().copied(),
            name: place.get(1).copied(),
        }
    }

    #[test]
    fn rules_allow_what_they_name_and_no_more() {
        let rights = Rights::of_roles("tester", YAML).unwrap();
        let allow = |verb, resource, place: &[&str]| rights.allow(deed(verb, resource, place));
        assert!(allow(Verb::List, Resource::Pods, &[]));
        assert!(allow(Verb::Delete, Resource::Deployments, &["shop", "x"]));
        assert!(allow(Verb::Get, Resource::Pods, &["shop", "a"]));
        assert!(!allow(Verb::Get, Resource::Pods, &["shop", "b"]));
        assert!(!allow(Verb::Get, Resource::Pods, &["bar", "a"]));
        assert!(!allow(Verb::Create, Resource::Pods, &["shop"]));
        assert!(!allow(Verb::List, Resource::Services, &[]));
        assert!(!allow(Verb::List, Resource::EndpointSlices, &[]));
        let granted = ["* *.apps", "get pods", "list pods", "watch pods"];
        assert!(rights.granted().iter().eq(granted));
    }

    #[test]
    fn a_service_account_has_the_roles_that_are_bound_to_it_where_they_are_bound() {
        let x = Rights::of_service_account("weir", "x", YAML).unwrap();
        let y = Rights::of_service_account("weir", "y", YAML).unwrap();
        let list = |place| deed(Verb::List, Resource::Pods, place);
        assert!(x.allow(list(&[])));
        assert!(!x.allow(deed(Verb::Get, Resource::Pods, &["shop", "a"])));
        assert!(!y.allow(list(&[])));
        assert!(y.allow(list(&["bar"])));
        assert!(y.allow(list(&["shop", "a"])));
        assert!(!y.allow(list(&["shop"])));
        let nobody = Rights::of_service_account("default", "x", YAML).unwrap();
        assert!(!nobody.allow(list(&[])));
    }

    #[test]
    fn a_binding_to_nothing_is_an_error() {
        let yaml = YAML.replace("metadata: {name: reader}", "metadata: {name: other}");
        let error = Rights::of_service_account("weir", "x", &yaml).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ClusterRoleBinding all refers to ClusterRole reader, which is not there"
        );
    }
}

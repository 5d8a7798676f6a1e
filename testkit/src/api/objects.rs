//! The objects of a server, as a test changes them: what other clients of the API would do.

use std::path::Path;

use serde_json::Value;

use super::{
    ApiError, ApiServer, Resource,
    object::{Key, Object, merge},
    yaml,
};

// === impl ApiServer ===

impl ApiServer {
    /// Creates or replaces an object, and returns it as it is now. Nothing happens if it is already so. Without a namespace it
    /// is in `default`; its uid is kept or made if it has none.
    ///
    /// # Errors
    /// The server does not have its kind, or it has no name.
    pub fn apply(&self, object: Value) -> Result<Value, ApiError> {
        let object = Object::new(object)?;
        let now = self.shared.change(|state| state.store.put(object));
        Ok(now.as_ref().clone())
    }

    /// Applies all objects of YAML documents, or none if one is wrong, and returns how many they are.
    ///
    /// # Errors
    /// It is no YAML, or [`ApiServer::apply`] would refuse an object.
    pub fn apply_yaml(&self, yaml: &str) -> Result<usize, ApiError> {
        Ok(self.put_all(yaml::objects("the manifests", yaml)?))
    }

    /// As [`ApiServer::apply_yaml`], for all `*.yaml` files of a directory, in the order of their names.
    ///
    /// # Errors
    /// The directory or a file cannot be read, or see [`ApiServer::apply_yaml`].
    pub fn apply_manifest_dir(&self, directory: &Path) -> Result<usize, ApiError> {
        Ok(self.put_all(yaml::directory(directory)?))
    }

    /// As [`ApiServer::apply_yaml`], and deletes every object that is not among them.
    ///
    /// # Errors
    /// See [`ApiServer::apply_yaml`].
    pub fn replace_all(&self, yaml: &str) -> Result<usize, ApiError> {
        let objects = yaml::objects("the manifests", yaml)?;
        Ok(self.shared.change(|state| {
            for resource in Resource::ALL {
                let old = state.store.all(resource).map(|(key, _)| key.clone());
                let is_new = |key: &Key| {
                    let mut objects = objects.iter();
                    objects.any(|object| object.resource == resource && object.key == *key)
                };
                let old: Vec<Key> = old.filter(|key| !is_new(key)).collect();
                old.iter()
                    .for_each(|key| drop(state.store.remove(resource, key)));
            }
            let count = objects.len();
            objects
                .into_iter()
                .for_each(|object| drop(state.store.put(object)));
            count
        }))
    }

    /// Changes an object by a JSON merge patch (RFC 7386), and returns it as it is now. `namespace` is empty for objects of
    /// the cluster.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn patch(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<Value, ApiError> {
        let key = Key::new(namespace, name);
        self.shared.change(|state| {
            let there = state.store.get(resource, &key);
            let there = there.ok_or_else(|| missing(resource, &key))?;
            let mut value = there.as_ref().clone();
            merge(&mut value, patch);
            let now = state.store.put(Object {
                resource,
                key: key.clone(),
                value,
            });
            Ok(now.as_ref().clone())
        })
    }

    /// Deletes an object at once, and returns its last state. `namespace` is empty for objects of the cluster.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn delete(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Value, ApiError> {
        let key = Key::new(namespace, name);
        let last = self
            .shared
            .change(|state| state.store.remove(resource, &key));
        let last = last.ok_or_else(|| missing(resource, &key))?;
        Ok(last.as_ref().clone())
    }

    /// An object. `namespace` is empty for objects of the cluster.
    pub fn get(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        let state = self.shared.lock();
        let object = state.store.get(resource, &Key::new(namespace, name))?;
        Some(object.as_ref().clone())
    }

    /// All objects of a resource, in the order of namespaces and names.
    pub fn list(&self, resource: Resource) -> Vec<Value> {
        let state = self.shared.lock();
        let all = state.store.all(resource);
        all.map(|(_, object)| object.as_ref().clone()).collect()
    }

    /// The version of the last change.
    pub fn version(&self) -> u64 {
        self.shared.lock().store.version()
    }

    fn put_all(&self, objects: Vec<Object>) -> usize {
        let count = objects.len();
        self.shared.change(|state| {
            objects
                .into_iter()
                .for_each(|object| drop(state.store.put(object)));
        });
        count
    }
}

fn missing(resource: Resource, key: &Key) -> ApiError {
    ApiError::NotFound {
        resource,
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

//! A policy that another one makes pointless: it allows everything to at least the same pods.

use super::Site;
use super::matching::selected;
use crate::model::{Direction, NetworkPolicy};

pub(super) fn check(site: &mut Site<'_>) {
    let policy = site.policy.clone();
    for direction in Direction::BOTH {
        if policy.rules(direction).is_empty() || allows_all(&policy, direction) {
            continue;
        }
        let Some(other) = site
            .cluster
            .policies
            .values()
            .find(|other| covers(site, other, &policy, direction))
        else {
            continue;
        };
        let message = format!(
            "{} already allows all {} of these pods; this policy changes nothing there",
            other.name,
            direction.as_str()
        );
        site.warn("shadowed", &format!("spec.{}", direction.as_str()), message);
    }
}

fn covers(
    site: &Site<'_>,
    other: &NetworkPolicy,
    policy: &NetworkPolicy,
    direction: Direction,
) -> bool {
    if other.name == policy.name
        || other.name.namespace != policy.name.namespace
        || !allows_all(other, direction)
    {
        return false;
    }
    if other.pod_selector.is_empty() || other.pod_selector == policy.pod_selector {
        return true;
    }
    let pods = selected(site.cluster, policy);
    !pods.is_empty()
        && pods
            .iter()
            .all(|pod| other.pod_selector.matches(&pod.labels))
}

fn allows_all(policy: &NetworkPolicy, direction: Direction) -> bool {
    policy
        .rules(direction)
        .iter()
        .any(|rule| rule.peers.is_empty() && rule.ports.is_empty())
}

//! A running compiler: after every update its tables say what the API's text says and what a fresh compiler's say, and
//! stopped after any single write every verdict is the old one or the new one.

mod found;
mod labels;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;
use weir_policy::compile::{Change, Compiler, RuleEntry};
use weir_policy::model::{Cluster, Name};
use weir_policy::tables::{Judgement, Query, Reason, Tables, Update};

use crate::generate::{NODE, Packet, State, Step, packets, queries, state, step};
use crate::{check, compiled, config, endpoints};

/// A cluster, and what then happens to it: each batch is one update.
#[derive(Clone, Debug)]
struct Story {
    start: State,
    batches: Vec<Vec<Step>>,
    packets: Vec<Packet>,
}

fn story() -> impl Strategy<Value = Story> {
    let batches = prop::collection::vec(prop::collection::vec(step(), 1..6), 1..7);
    (state(), batches, packets(500)).prop_map(|(start, batches, packets)| Story {
        start,
        batches,
        packets,
    })
}

/// What is asked of two states: of the endpoints of both, at all addresses that they have in either.
fn queries_of_both(packets: &[Packet], old: &State, new: &State) -> Vec<(Name, Query)> {
    let mut all: BTreeMap<Name, BTreeSet<IpAddr>> = BTreeMap::new();
    for (name, addresses) in endpoints(old).into_iter().chain(endpoints(new)) {
        all.entry(name).or_default().extend(addresses);
    }
    let all: Vec<_> = (all.into_iter())
        .map(|(name, addresses)| (name, addresses.into_iter().collect()))
        .collect();
    queries(packets, &all)
}

/// Does an update write by write on what the kernel has; after each write every verdict is the old or the new one. Of a
/// pod that is no endpoint afterwards nothing is promised but that it then is none.
fn do_writes(
    kernel: &mut Tables,
    update: &Update,
    new: &Tables,
    queries: &[(Name, Query)],
) -> Result<(), TestCaseError> {
    let old = kernel.clone();
    let verdicts: Vec<_> = (queries.iter())
        .map(|(pod, query)| (old.verdict(pod, query), new.verdict(pod, query)))
        .collect();
    let goes = |pod: &Name| !new.endpoints.contains_key(pod);
    for (number, write) in update.writes().enumerate() {
        kernel.apply(write);
        for ((pod, query), (before, after)) in queries.iter().zip(&verdicts) {
            let now = kernel.verdict(pod, query);
            prop_assert!(
                goes(pod) || is_between(now, *before, *after),
                "after write {number} ({write:?}) of {update:#?}\n{pod} {query:?}: {now:?}\nbefore {before:?}\nafter {after:?}"
            );
        }
    }
    kernel.revision = update.revision;
    prop_assert!(kernel == new, "the writes do not lead to the tables");
    Ok(())
}

/// Whether a verdict is one of two. The reason must be, too, if it is a policy's rule: while an address ceases to be
/// the node's, or an endpoint to be open, what is allowed before and after may be so for the other of these reasons.
fn is_between(now: Option<Judgement>, before: Option<Judgement>, after: Option<Judgement>) -> bool {
    let is = |other: Option<Judgement>| match (now, other) {
        (Some(now), Some(other)) => {
            now.allowed == other.allowed && (now.rule == other.rule || now.reason != Reason::Policy)
        }
        (now, other) => now == other,
    };
    is(before) || is(after)
}

/// The same of both: what is allowed, why, and by which rule.
fn check_same(
    one: &Compiler,
    other: &Compiler,
    queries: &[(Name, Query)],
) -> Result<(), TestCaseError> {
    for (pod, query) in queries {
        let [one, other] = [one, other].map(|compiler| meaning(compiler, pod, query));
        prop_assert_eq!(one, other, "{} {:?}", pod, query);
    }
    Ok(())
}

fn meaning(
    compiler: &Compiler,
    pod: &Name,
    query: &Query,
) -> Option<(bool, Reason, Option<RuleEntry>)> {
    let judgement = compiler.tables().verdict(pod, query)?;
    let rule = compiler.catalogue().rule(judgement.rule).cloned();
    Some((judgement.allowed, judgement.reason, rule))
}

/// Tells a running compiler a story.
fn tell(story: Story) -> Result<(), TestCaseError> {
    let mut state = story.start;
    let mut compiler = compiled(&state);
    let mut kernel = compiler.tables().clone();
    for batch in story.batches {
        let before = state.clone();
        let changes = batch.iter().map(Step::change).collect();
        batch.into_iter().for_each(|step| state.apply(step));
        let update = compiler.apply(changes);
        let asked = queries_of_both(&story.packets, &before, &state);
        do_writes(&mut kernel, &update, compiler.tables(), &asked)?;
        check_same(&compiler, &compiled(&state), &asked)?;
        check(
            &state,
            &compiler,
            &queries(&story.packets, &endpoints(&state)),
        )?;
    }
    Ok(())
}

/// The model's cluster of a state.
fn cluster(state: &State) -> Cluster {
    let objects = state.steps().into_iter().filter_map(|step| match step {
        Step::Upsert(object) => Some(object.read()),
        Step::Remove(..) | Step::Local(_) => None,
    });
    objects.collect()
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn updates_keep_every_verdict_old_or_new_and_lead_to_those_of_a_fresh_compiler(story in story()) {
        tell(story)?;
    }

    #[test]
    fn a_compiler_that_is_told_everything_again_changes_nothing(state in state()) {
        let mut compiler = compiled(&state);
        let before = compiler.tables().clone();
        let again = vec![Change::Replace(cluster(&state)), Change::LocalAddresses(state.local)];
        let update = compiler.apply(again);
        prop_assert!(update.is_empty(), "{:#?}", update);
        prop_assert!(*compiler.tables() == before);
    }

    #[test]
    fn a_cluster_that_goes_leaves_nothing_behind(story in story()) {
        let mut compiler = compiled(&story.start);
        for batch in story.batches {
            compiler.apply(batch.iter().map(Step::change).collect());
        }
        let nothing = [Change::Replace(Cluster::default()), Change::LocalAddresses(BTreeSet::new())];
        compiler.apply(nothing.to_vec());
        compiler.apply(Vec::new());
        let empty = Tables { revision: compiler.tables().revision, ..Tables::default() };
        prop_assert!(*compiler.tables() == empty, "{:#?}", compiler.tables());
    }

    #[test]
    fn a_restart_at_any_write_leads_to_the_same_verdicts(
        story in story(),
        at in any::<prop::sample::Index>(),
    ) {
        restart(story, at)?;
    }
}

/// Stops the last update of a story after any of its writes; a new compiler goes on from what the kernel has.
fn restart(story: Story, at: prop::sample::Index) -> Result<(), TestCaseError> {
    let mut state = story.start;
    let mut compiler = compiled(&state);
    let mut kernel = compiler.tables().clone();
    let mut before = state.clone();
    let mut update = Update::default();
    for batch in story.batches {
        kernel = compiler.tables().clone();
        before = state.clone();
        update = compiler.apply(batch.iter().map(Step::change).collect());
        batch.into_iter().for_each(|step| state.apply(step));
    }
    let done = at.index(update.writes().count() + 1);
    update
        .writes()
        .take(done)
        .for_each(|write| kernel.apply(write));
    let mut next = Compiler::new(NODE, compiler.catalogue().clone());
    next.adopt(kernel.clone());
    let update = next.apply(vec![
        Change::Replace(cluster(&state)),
        Change::LocalAddresses(state.local.clone()),
    ]);
    let asked = queries_of_both(&story.packets, &before, &state);
    do_writes(&mut kernel, &update, next.tables(), &asked)?;
    check_same(&next, &compiled(&state), &asked)?;
    check(&state, &next, &queries(&story.packets, &endpoints(&state)))
}

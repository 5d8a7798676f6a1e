//! The compiled tables against a naive reading of the API's text: random clusters, random packets.

mod generate;
mod naive;
mod updates;

use std::collections::BTreeMap;
use std::net::IpAddr;

use generate::{NODE, State, packets, queries, state};
use naive::{Answer, RuleName, Why, WhyNot};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use weir_policy::compile::{Catalogue, Compiler};
use weir_policy::model::{Direction, Name};
use weir_policy::tables::{Judgement, Query, Reason};

/// So many cases; `PROPTEST_CASES` asks for another number.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.and_then(|cases| cases.parse().ok()).unwrap_or(cases),
        failure_persistence: None,
        max_shrink_iters: 100_000,
        ..ProptestConfig::default()
    }
}

/// A compiler that got a whole cluster at once.
fn compiled(state: &State) -> Compiler {
    let mut compiler = Compiler::new(NODE, Catalogue::default());
    compiler.apply(state.steps().iter().map(generate::Step::change).collect());
    compiler
}

/// The endpoints of the node with their addresses.
fn endpoints(state: &State) -> Vec<(Name, Vec<IpAddr>)> {
    let view = state.view();
    let pods = (state.objects.pods.iter()).filter(|(name, _)| view.is_endpoint(name));
    pods.map(|(name, pod)| (name.clone(), naive::pod_ips(pod)))
        .collect()
}

/// What is wrong about a verdict of the tables, if anything.
fn disagreement(
    answer: Option<&Answer>,
    judgement: Option<&Judgement>,
    catalogue: &Catalogue,
    direction: Direction,
) -> Option<String> {
    let agrees = match (answer, judgement) {
        (None, None) => true,
        (Some(Answer::Deny(why)), Some(judgement)) => {
            let reason = match why {
                WhyNot::DefaultDeny => judgement.reason == Reason::DefaultDeny,
                WhyNot::NoBackends => judgement.reason == Reason::NoBackends,
                WhyNot::Backends => {
                    matches!(
                        judgement.reason,
                        Reason::DefaultDeny | Reason::MixedBackends
                    )
                }
            };
            !judgement.allowed && reason
        }
        (Some(Answer::Allow(reasons)), Some(judgement)) => {
            let why = match judgement.reason {
                Reason::SelfTraffic => Some(Why::Itself),
                Reason::OwnNode => Some(Why::OwnNode),
                Reason::NotIsolated => Some(Why::NotIsolated),
                Reason::Policy => named_rule(judgement, catalogue, direction).map(Why::Rule),
                _ => None,
            };
            judgement.allowed && why.is_some_and(|why| reasons.contains(&why))
        }
        (None, Some(_)) | (Some(_), None) => false,
    };
    let rule = judgement.and_then(|judgement| catalogue.rule(judgement.rule));
    (!agrees).then(|| format!("naive: {answer:?}\ntables: {judgement:?} {rule:?}"))
}

fn named_rule(
    judgement: &Judgement,
    catalogue: &Catalogue,
    direction: Direction,
) -> Option<RuleName> {
    let entry = catalogue.rule(judgement.rule)?;
    (entry.direction == direction).then(|| RuleName {
        policy: entry.policy.clone(),
        index: usize::try_from(entry.index).expect("a small number"),
    })
}

/// Holds the compiler's tables against the naive reading.
fn check(
    state: &State,
    compiler: &Compiler,
    queries: &[(Name, Query)],
) -> Result<(), TestCaseError> {
    let (view, tables) = (state.view(), compiler.tables());
    let known: Vec<_> = endpoints(state).into_iter().map(|(name, _)| name).collect();
    prop_assert_eq!(tables.endpoints.keys().cloned().collect::<Vec<_>>(), known);
    for (pod, query) in queries {
        let answer = view.judge(pod, query);
        let judgement = tables.verdict(pod, query);
        let wrong = disagreement(
            answer.as_ref(),
            judgement.as_ref(),
            compiler.catalogue(),
            query.direction,
        );
        if let Some(wrong) = wrong {
            return Err(TestCaseError::fail(format!("{pod} {query:?}\n{wrong}")));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn verdicts_and_named_rules_are_those_of_the_api_text(state in state(), packets in packets(300)) {
        check(&state, &compiled(&state), &queries(&packets, &endpoints(&state)))?;
    }
}

#[test]
fn the_random_clusters_reach_every_verdict() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..600 {
        let new = |runner: &mut TestRunner| (state(), packets(300)).new_tree(runner);
        let (state, packets) = new(&mut runner).expect("no filters").current();
        let tables = compiled(&state);
        for (pod, query) in queries(&packets, &endpoints(&state)) {
            let judgement = tables.tables().verdict(&pod, &query);
            let reason = judgement.map_or("no endpoint", |judgement| judgement.reason.as_str());
            *seen.entry(reason).or_default() += 1;
        }
    }
    for reason in [
        Reason::Policy,
        Reason::NotIsolated,
        Reason::DefaultDeny,
        Reason::SelfTraffic,
        Reason::OwnNode,
        Reason::NoBackends,
        Reason::MixedBackends,
    ] {
        let count = seen.get(reason.as_str()).copied().unwrap_or_default();
        assert!(count >= 10, "{reason:?} came up {count} times: {seen:?}");
    }
    println!("{seen:?}");
}

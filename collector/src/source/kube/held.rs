//! Pods that have just come to this node, kept back until the policies that may select them are known.
//!
//! What is not handed on does not exist for the compiler: its interface stays pending, under its posture. A pod is seen
//! here when it is scheduled, long before it has an address, so that the question to the API server costs it nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_policy::model::{Name, Object};

use super::fresh::Answer;
use super::index::Index;

/// If the watches have not caught up with an answer by then, another is asked for.
const OVERTAKEN: Duration = Duration::from_millis(500);
/// Between two tries of a question that was not answered.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Waiting {
    object: Object,
    /// Counts pods in the order in which they came.
    serial: u64,
}

/// A question about a namespace. What came before it is covered by its answer.
#[derive(Debug)]
struct Question {
    covers: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Asked,
    Answered(Answer, Instant),
    Failed(Instant),
}

/// Pods that are kept back.
#[derive(Debug, Default)]
pub(super) struct Held {
    pods: BTreeMap<Name, Waiting>,
    questions: BTreeMap<Arc<str>, Question>,
    serial: u64,
}

impl Held {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    /// Keeps a pod back. One that is kept back already stays in its place.
    pub(super) fn put(&mut self, name: Name, object: Object) {
        let serial = match self.pods.get(&name) {
            Some(waiting) => waiting.serial,
            None => {
                self.serial += 1;
                self.serial
            }
        };
        self.pods.insert(name, Waiting { object, serial });
    }

    /// Forgets a pod. Its successor of the same name waits anew.
    pub(super) fn forget(&mut self, name: &Name) {
        self.pods.remove(name);
    }

    /// What to ask now: a namespace, and the number of the question. The answer is for what came before the question.
    pub(super) fn ask(&mut self, now: Instant) -> Vec<(Arc<str>, u64)> {
        let waiting: BTreeSet<&Arc<str>> = self.pods.keys().map(|name| &name.namespace).collect();
        self.questions
            .retain(|namespace, _| waiting.contains(namespace));
        let mut asked = Vec::new();
        for namespace in waiting {
            let is_due = match self.questions.get(namespace).map(|known| &known.state) {
                None => true,
                Some(State::Asked) => false,
                Some(State::Answered(_, until) | State::Failed(until)) => now >= *until,
            };
            if is_due {
                let question = Question {
                    covers: self.serial,
                    state: State::Asked,
                };
                self.questions.insert(namespace.clone(), question);
                asked.push((namespace.clone(), self.serial));
            }
        }
        asked
    }

    /// Takes an answer; none if the API server gave none.
    pub(super) fn answered(
        &mut self,
        (namespace, number): (&str, u64),
        answer: Option<Answer>,
        now: Instant,
    ) {
        let question = self.questions.get_mut(namespace);
        if let Some(question) = question.filter(|question| question.covers == number) {
            question.state = match answer {
                Some(answer) => State::Answered(answer, now + OVERTAKEN),
                None => State::Failed(now + AGAIN),
            };
        }
    }

    /// Lets go of the pods whose policies are known.
    pub(super) fn release(&mut self, namespaces: &Index, policies: &Index) -> Vec<Object> {
        let mut released = Vec::new();
        self.questions.retain(|namespace, question| {
            let State::Answered(answer, _) = &question.state else {
                return true;
            };
            if !answer.is_known(namespace, namespaces, policies) {
                return true;
            }
            let covered = self.pods.extract_if(.., |name, waiting| {
                name.namespace == *namespace && waiting.serial <= question.covers
            });
            released.extend(covered.map(|(_, waiting)| waiting.object));
            false
        });
        released
    }
}

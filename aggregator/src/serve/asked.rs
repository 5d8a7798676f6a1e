//! Questions for collectors: the policies are with them, and they are the ones that connect.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};
use weir_proto::weir::v1::{Answer, ExplainRequest, ExplainResponse, Question};

/// Questions on their way to one collector; more are refused.
const QUESTIONS: usize = 64;
/// How long a collector may think: a large cluster is compiled for the question.
const PATIENCE: Duration = Duration::from_secs(20);

type Questions = mpsc::Sender<Result<Question, Status>>;
type Waiting = oneshot::Sender<Result<ExplainResponse, Status>>;

/// The collectors that wait for questions. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// By node; the stream that came last, and its number.
    collectors: BTreeMap<String, (u64, Questions)>,
    waiting: HashMap<u64, Waiting>,
}

impl Asked {
    /// Asks the collectors, one after the other, until one answers: all of them know the whole cluster, sidecars excepted.
    pub(crate) async fn explain(&self, request: ExplainRequest) -> Result<ExplainResponse, Status> {
        let collectors: Vec<Questions> = {
            let inner = self.lock();
            let collectors = inner.collectors.values();
            collectors.map(|(_, questions)| questions.clone()).collect()
        };
        let mut last = Status::unavailable(
            "no collector is connected, and the policies are with them: see weir status",
        );
        for questions in collectors {
            match self.ask(&questions, request.clone()).await {
                Ok(explained) => return Ok(explained),
                Err(status) if status.code() == Code::InvalidArgument => return Err(status),
                Err(status) => last = status,
            }
        }
        Err(last)
    }

    async fn ask(
        &self,
        questions: &Questions,
        request: ExplainRequest,
    ) -> Result<ExplainResponse, Status> {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut inner = self.lock();
            inner.next += 1;
            let id = inner.next;
            inner.waiting.insert(id, answer);
            id
        };
        let question = Question {
            id,
            explain: Some(request),
        };
        let asked = questions.try_send(Ok(question));
        let result = match asked {
            Ok(()) => tokio::time::timeout(PATIENCE, answered).await,
            Err(_) => Ok(Ok(Err(Status::unavailable(
                "the collector is busy or gone",
            )))),
        };
        self.lock().waiting.remove(&id);
        match result {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Status::unavailable("the collector has gone")),
            Err(_) => Err(Status::deadline_exceeded("the collector does not answer")),
        }
    }

    /// A collector has connected: hands it questions and takes its answers, in a task of its own.
    pub(crate) async fn collector(
        &self,
        mut answers: Streaming<Answer>,
        stop: CancellationToken,
    ) -> Result<mpsc::Receiver<Result<Question, Status>>, Status> {
        let hello = answers.message().await?;
        let node = hello.map(|hello| hello.node).unwrap_or_default();
        if node.is_empty() {
            return Err(Status::invalid_argument("the first message names no node"));
        }
        let (questions, stream) = mpsc::channel(QUESTIONS);
        let number = {
            let mut inner = self.lock();
            inner.next += 1;
            let number = inner.next;
            inner.collectors.insert(node.clone(), (number, questions));
            number
        };
        let asked = self.clone();
        tokio::spawn(async move {
            let taking = async {
                while let Ok(Some(answer)) = answers.message().await {
                    asked.take(answer);
                }
            };
            stop.run_until_cancelled(taking).await;
            let mut inner = asked.lock();
            let current = inner.collectors.get(&node);
            if current.is_some_and(|(current, _)| *current == number) {
                inner.collectors.remove(&node);
            }
        });
        Ok(stream)
    }

    fn take(&self, answer: Answer) {
        let Some(waiting) = self.lock().waiting.remove(&answer.id) else {
            return; // nobody waits for it any more
        };
        let explained = match answer.explained {
            Some(explained) => Ok(explained),
            None => Err(Status::new(Code::from_i32(answer.code), answer.error)),
        };
        // Who asked may have gone.
        drop(waiting.send(explained));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

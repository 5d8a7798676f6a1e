//! Questions that come through the aggregator: it cannot connect to collectors, so they connect to it and wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use weir_proto::weir::v1::aggregator_client::AggregatorClient;
use weir_proto::weir::v1::{Answer, Question};
use weir_tls::Target;

use crate::serve::Explainer;

/// Answers on their way.
const ANSWERS: usize = 16;
/// Between two attempts to connect. Records have their own connection, and log what is wrong with it.
const PAUSE: Duration = Duration::from_secs(2);

/// Answers what the aggregator asks, until `shutdown`.
pub(crate) async fn answer(aggregator: Target, explainer: Explainer, shutdown: CancellationToken) {
    let explainer = Arc::new(explainer);
    let answering = async {
        loop {
            if let Err(status) = connection(&aggregator, &explainer).await {
                tracing::debug!(
                    reason = status.message(),
                    "no questions from the aggregator"
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    shutdown.run_until_cancelled(answering).await;
}

/// One connection, until it ends.
async fn connection(aggregator: &Target, explainer: &Arc<Explainer>) -> Result<(), Status> {
    let channel = aggregator.connect().await.map_err(Status::unavailable)?;
    let (answers, stream) = mpsc::channel(ANSWERS);
    let hello = Answer {
        node: explainer.node.to_string(),
        ..Answer::default()
    };
    // The channel is new and has room.
    drop(answers.try_send(hello));
    let mut client = AggregatorClient::new(channel);
    let asked = client.questions(ReceiverStream::new(stream)).await?;
    let mut questions = asked.into_inner();
    while let Some(question) = questions.message().await? {
        let answer = self::answered(explainer, question).await;
        if answers.send(answer).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn answered(explainer: &Explainer, question: Question) -> Answer {
    let mut answer = Answer {
        node: explainer.node.to_string(),
        id: question.id,
        ..Answer::default()
    };
    let explained = match question.explain {
        Some(request) => explainer.explain(&request).await,
        None => Err(Status::unimplemented("this collector only explains")),
    };
    match explained {
        Ok(explained) => answer.explained = Some(explained),
        Err(status) => {
            answer.code = status.code() as i32;
            answer.error = status.message().to_owned();
        }
    }
    answer
}

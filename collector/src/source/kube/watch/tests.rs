//! The real client against a server that answers by a script.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::http::Response;
use kube::client::Body;
use tower::service_fn;

use super::super::kinds::NETWORK_POLICIES;
use super::*;
use crate::telemetry::Telemetry;

/// Generous: tests run on busy machines.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers in their order; after them, none ever comes.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// The version that a look at the server finds, which is no part of the script.
    now: Arc<AtomicU64>,
}

impl Script {
    fn new<const N: usize>(answers: [(u16, &str); N]) -> Self {
        let answers = answers.map(|(code, text)| (code, text.to_owned()));
        Self {
            answers: Arc::new(Mutex::new(VecDeque::from(answers))),
            asked: Arc::default(),
            now: Arc::new(AtomicU64::new(1000)),
        }
    }

    /// Follows until so many pieces of news have come.
    async fn follow(&self, count: usize) -> Vec<String> {
        let script = self.clone();
        let service = service_fn(move |request: HttpRequest<Body>| {
            let script = script.clone();
            async move {
                let asked = request.uri().query().unwrap_or_default().to_owned();
                if asked.split('&').any(|pair| pair == "limit=1") {
                    let now = script.now.load(Ordering::Relaxed);
                    let page =
                        format!(r#"{{"metadata":{{"resourceVersion":"{now}"}},"items":[]}}"#);
                    return Response::builder().body(Body::from(page.into_bytes()));
                }
                script.asked.lock().unwrap().push(asked);
                let answer = script.answers.lock().unwrap().pop_front();
                let Some((code, text)) = answer else {
                    return std::future::pending().await;
                };
                let response = Response::builder().status(code);
                response.body(Body::from(text.into_bytes()))
            }
        });
        let client = Client::new(service, "default");
        let (sender, mut news) = mpsc::channel(8);
        let (telemetry, _) = Telemetry::new();
        let watch = Watch::new(client, &NETWORK_POLICIES, sender, telemetry.own.clone());
        let watch = tokio::spawn(watch.run());
        let mut told = Vec::new();
        while told.len() < count {
            let next = timeout(PATIENCE, news.recv()).await;
            told.push(in_short(
                &next.expect("news in time").expect("a watch").news,
            ));
        }
        // What it asks for next is of interest too.
        while !self.answers.lock().unwrap().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        watch.abort();
        told
    }

    /// The value of a parameter in the request of this number.
    fn asked(&self, number: usize, parameter: &str) -> Option<String> {
        let asked = self.asked.lock().unwrap();
        let mut pairs = asked[number]
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| *key == parameter)
            .map(|(_, value)| value.to_owned())
    }
}

fn in_short(news: &News) -> String {
    let name = |object: &Value| {
        let metadata = &object["metadata"];
        format!(
            "{}@{}",
            text_at(metadata, "name"),
            text_at(metadata, "resourceVersion")
        )
    };
    match news {
        News::ListBegins => "(".to_owned(),
        News::Listed(object) => name(object),
        News::ListEnds => ")".to_owned(),
        News::Changed(object) => format!("+{}", name(object)),
        News::Deleted(object) => format!("-{}", name(object)),
    }
}

const P1: &str = r#"{"type":"ADDED","object":{"metadata":{"name":"p","resourceVersion":"1"}}}
"#;
const END7: &str = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}
"#;
const Q8: &str = r#"{"type":"ADDED","object":{"metadata":{"name":"q","resourceVersion":"8"}}}
"#;
const MARK12: &str = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"12"}}}
"#;
const DEL9: &str = r#"{"type":"DELETED","object":{"metadata":{"name":"q","resourceVersion":"9"}}}
"#;
const GONE: &str = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}}
"#;
const GONE_STATUS: &str = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":410,"reason":"Expired","message":"too old resource version"}"#;
const TOO_LARGE: &str = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":504,"reason":"Timeout","message":"Too large resource version"}"#;
const NO_STREAMS: &str = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":422,"reason":"Invalid","message":"sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"}"#;

#[tokio::test]
async fn a_list_is_streamed_by_a_consistent_read_and_the_watch_goes_on_from_bookmarks() {
    let first = [P1, END7, Q8, MARK12].concat();
    let script = Script::new([(200, &first), (200, DEL9), (200, "")]);
    assert_eq!(script.follow(5).await, ["(", "p@1", ")", "+q@8", "-q@9"]);
    assert_eq!(
        script.asked(0, "sendInitialEvents").as_deref(),
        Some("true")
    );
    assert_eq!(script.asked(0, "resourceVersion").as_deref(), Some(""));
    assert_eq!(script.asked(1, "resourceVersion").as_deref(), Some("12"));
    assert_eq!(script.asked(2, "resourceVersion").as_deref(), Some("9"));
}

#[tokio::test]
async fn a_server_that_streams_no_lists_is_asked_for_pages() {
    let one = r#"{"metadata":{"resourceVersion":"7","continue":"next"},"items":[{"metadata":{"name":"p","resourceVersion":"1"}}]}"#;
    let two = r#"{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"o","resourceVersion":"2"}}]}"#;
    let script = Script::new([(422, NO_STREAMS), (200, one), (200, two), (200, Q8)]);
    assert_eq!(script.follow(5).await, ["(", "p@1", "o@2", ")", "+q@8"]);
    assert_eq!(
        script.asked(1, "resourceVersion"),
        None,
        "a consistent read"
    );
    assert_eq!(script.asked(2, "continue").as_deref(), Some("next"));
    assert_eq!(script.asked(3, "resourceVersion").as_deref(), Some("7"));
}

#[tokio::test]
async fn a_version_that_is_gone_is_listed_anew_however_the_server_says_so() {
    let (list, gone) = ([P1, END7].concat(), [Q8, GONE].concat());
    let script = Script::new([
        (200, &list),
        (200, &gone),
        (200, &list),
        (410, GONE_STATUS),
        (200, &list),
    ]);
    let told = script.follow(10).await;
    assert_eq!(
        told,
        ["(", "p@1", ")", "+q@8", "(", "p@1", ")", "(", "p@1", ")"]
    );
    assert_eq!(
        script.asked(4, "sendInitialEvents").as_deref(),
        Some("true")
    );
}

#[tokio::test]
async fn a_server_that_has_lost_its_history_is_listed_anew() {
    let list = [P1, END7].concat();
    let lost = (504, TOO_LARGE);
    let script = Script::new([(200, &list), lost, lost, lost, (200, &list)]);
    assert_eq!(script.follow(6).await, ["(", "p@1", ")", "(", "p@1", ")"]);
}

#[tokio::test]
async fn a_server_that_was_set_back_is_listed_anew() {
    let list = [P1, END7].concat();
    let script = Script::new([(200, &list), (200, &list)]);
    script.now.store(5, Ordering::Relaxed);
    assert_eq!(script.follow(6).await, ["(", "p@1", ")", "(", "p@1", ")"]);
    assert_eq!(script.asked(1, "resourceVersion").as_deref(), Some(""));
}

#[tokio::test]
async fn half_a_line_is_asked_for_again() {
    let torn = [P1, END7, &Q8[..Q8.len() / 2]].concat();
    let script = Script::new([(200, &torn), (200, Q8)]);
    assert_eq!(script.follow(4).await, ["(", "p@1", ")", "+q@8"]);
    assert_eq!(script.asked(1, "resourceVersion").as_deref(), Some("7"));
}

#[tokio::test]
async fn a_line_that_cannot_be_understood_is_not_passed_over() {
    let list = [P1, END7].concat();
    let damaged = ["{\"type\":\"ADDED\",\"object\":{]}\n", DEL9].concat();
    let script = Script::new([(200, &list), (200, &damaged), (200, Q8)]);
    assert_eq!(script.follow(4).await, ["(", "p@1", ")", "+q@8"]);
    assert_eq!(script.asked(2, "resourceVersion").as_deref(), Some("7"));
}

#[tokio::test]
async fn a_streamed_list_that_breaks_off_begins_again() {
    let list = [P1, END7].concat();
    let script = Script::new([(200, P1), (500, "{}"), (200, &list)]);
    assert_eq!(script.follow(5).await, ["(", "p@1", "(", "p@1", ")"]);
    assert_eq!(script.asked(2, "resourceVersion").as_deref(), Some(""));
}

#[test]
fn metrics_name_the_kind_that_failed() {
    let (telemetry, _) = Telemetry::new();
    telemetry.own.watch_failed(Kind::Pod);
    let text = telemetry.render();
    assert!(
        text.contains("weir_watch_failures_total{kind=\"Pod\"} 1"),
        "{text}"
    );
}

//! Records on their way to an aggregator over mTLS, while all certificates are replaced.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{PATIENCE, certs};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_aggregator::Listeners;
use weir_collector::uplink::{self, Uplink};
use weir_flow::{Item, samples};
use weir_proto::weir::v1::AggregatorStatusRequest;
use weir_proto::weir::v1::aggregator_client::AggregatorClient;
use weir_tls::{ClientFiles, IdentityFiles, ServerFiles, Target};

fn identity(directory: &Path, role: &str) -> IdentityFiles {
    IdentityFiles {
        certificate: directory.join(role).join("tls.crt"),
        key: directory.join(role).join("tls.key"),
    }
}

fn client_files(directory: &Path, role: &str) -> ClientFiles {
    ClientFiles {
        authorities: vec![directory.join(role).join("ca.crt")],
        identity: Some(identity(directory, role)),
        server_name: None,
    }
}

/// An aggregator that looks at its files all the time; the port where it listens.
async fn aggregator(directory: &Path, certificates: &Path, stop: CancellationToken) -> u16 {
    let files = ServerFiles {
        identity: identity(certificates, "aggregator"),
        client_ca: Some(certificates.join("aggregator/ca.crt")),
    };
    let mut config = weir_aggregator::Config::new(directory.join("data"));
    config.listen.set_port(0);
    config.metrics = None;
    let mut listeners = Listeners::bind(&config).await.expect("a port");
    let tls = files.load().expect("certificates");
    listeners.tls = Some(tls.looking_every(Duration::from_millis(10)));
    let port = listeners.api.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let ended = weir_aggregator::run(config, listeners, stop).await;
        ended.expect("an aggregator");
    });
    port
}

/// Forwards to a port, and cuts all connections with each change of what is watched.
async fn proxy(to: u16, cuts: watch::Receiver<u32>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        loop {
            let (mut inside, _) = listener.accept().await.expect("a connection");
            let mut cuts = cuts.clone();
            cuts.mark_unchanged();
            tokio::spawn(async move {
                let Ok(mut outside) = TcpStream::connect(("127.0.0.1", to)).await else {
                    return;
                };
                tokio::select! {
                    _ = copy_bidirectional(&mut inside, &mut outside) => {}
                    _ = cuts.changed() => {}
                }
            });
        }
    });
    port
}

/// Appends records of new flows.
fn append(uplink: &Uplink, serials: std::ops::Range<u64>) {
    for serial in serials {
        let mut record = samples::allowed();
        record.id.serial = serial;
        uplink.append(&[Item::Flow(record)]);
    }
}

async fn until_acknowledged(uplink: &Uplink) {
    let began = Instant::now();
    while uplink.stats().unacked_batches > 0 {
        assert!(began.elapsed() < PATIENCE, "{:?}", uplink.stats());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_certificates_are_replaced_under_a_running_uplink_and_nothing_is_lost() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let certificates = directory.path().join("certs");
    certs::make(&certificates, &[]);
    let stop = CancellationToken::new();
    let port = aggregator(directory.path(), &certificates, stop.clone()).await;
    let (cut, cuts) = watch::channel(0);
    let through = proxy(port, cuts).await;
    let url = format!("https://localhost:{through}");
    let spool = directory.path().join("spool");
    let config = uplink::Config {
        tls: Some(client_files(&certificates, "collector")),
        ..uplink::Config::new(url, Arc::from("node-1"), spool)
    };
    let (uplink, _sender) = Uplink::spawn(config, stop.clone()).expect("an uplink");
    append(&uplink, 0..100);
    until_acknowledged(&uplink).await;

    // A new CA and new certificates for everybody: the connection that is there goes on.
    std::fs::remove_file(certificates.join("ca")).expect("a link");
    certs::make(&certificates, &[]);
    append(&uplink, 100..200);
    until_acknowledged(&uplink).await;

    // The next connection is made with the new ones, in the middle of what is sent.
    append(&uplink, 200..250);
    cut.send_replace(1);
    append(&uplink, 250..300);
    until_acknowledged(&uplink).await;

    let target = Target::new(
        &format!("https://localhost:{port}"),
        Some(client_files(&certificates, "client")),
        |endpoint| endpoint,
    );
    let channel = target
        .expect("a target")
        .connect()
        .await
        .expect("connected");
    let mut client = AggregatorClient::new(channel);
    let status = client.status(AggregatorStatusRequest {}).await;
    let status = status.expect("a status").into_inner();
    assert_eq!(status.rows, 300, "{status:?}");
    assert_eq!(status.nodes[0].lost_records, 0, "{status:?}");
    stop.cancel();
}

//! TLS: both sides have it or none has, the files are in the Secrets that are mounted, and somebody makes those.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::cert_manager::{Certificate, Issuer, IssuerSpec};
use super::files::Set;
use super::workload::{Workload, workloads};
use crate::args::Command;

/// What is in a Secret of the type `kubernetes.io/tls`, with the CA.
const FILES: [&str; 3] = ["ca.crt", "tls.crt", "tls.key"];

/// Whether the aggregator of a set speaks TLS.
pub(super) fn is_encrypted(set: &Set) -> bool {
    workloads(set).iter().any(|workload| {
        let weirs = workload.weirs();
        weirs.iter().any(|(_, cli)| match &cli.command {
            Command::Aggregator(args) => args.tls.files().is_some(),
            _ => false,
        })
    })
}

#[test]
fn both_sides_prove_themselves_or_speak_plain_text() {
    let mut encrypted = 0;
    for set in super::sets() {
        let expected = is_encrypted(&set);
        encrypted += usize::from(expected);
        for workload in workloads(&set) {
            for (_, cli) in workload.weirs() {
                match &cli.command {
                    Command::Aggregator(args) => {
                        let client_ca = args.tls.tls_client_ca.is_some();
                        assert_eq!(client_ca, expected, "{}", workload.origin);
                    }
                    Command::Collector(args) => {
                        let Some(url) = &args.aggregator else {
                            continue;
                        };
                        let origin = &workload.origin;
                        assert_eq!(url.starts_with("https://"), expected, "{origin}");
                        let files = args.aggregator_tls.files();
                        let identity = files.and_then(|files| files.identity);
                        assert_eq!(identity.is_some(), expected, "{origin}");
                    }
                    _ => {}
                }
            }
        }
    }
    assert_eq!(encrypted, 2, "overlays with TLS");
}

#[test]
fn certificates_are_in_secrets_that_somebody_makes() {
    for set in super::sets() {
        let made = made(&set);
        for workload in workloads(&set) {
            for (_, cli) in workload.weirs() {
                for path in paths(&cli.command) {
                    let (secret, file) = mounted(&workload, &path);
                    let origin = &workload.origin;
                    assert!(made.contains(&secret), "{origin}: nobody makes {secret}");
                    assert!(FILES.contains(&file.as_str()), "{origin}: {file}");
                }
            }
        }
    }
}

fn paths(command: &Command) -> Vec<PathBuf> {
    match command {
        Command::Aggregator(args) => {
            let tls = &args.tls;
            let paths = [&tls.tls_cert, &tls.tls_key, &tls.tls_client_ca];
            paths.into_iter().flatten().cloned().collect()
        }
        Command::Collector(args) => {
            let tls = &args.aggregator_tls;
            let paths = [
                &tls.aggregator_ca,
                &tls.aggregator_cert,
                &tls.aggregator_key,
            ];
            paths.into_iter().flatten().cloned().collect()
        }
        _ => Vec::new(),
    }
}

/// The Secret in which a path is, and the file's name.
fn mounted(workload: &Workload, path: &std::path::Path) -> (String, String) {
    let (directory, file) = (path.parent(), path.file_name().expect("a file"));
    let mut mounts = workload
        .containers()
        .flat_map(|container| container.volume_mounts.iter().flatten());
    let mount = mounts
        .find(|mount| directory == Some(mount.mount_path.as_ref()))
        .unwrap_or_else(|| panic!("{}: {} is not mounted", workload.origin, path.display()));
    assert_eq!(mount.read_only, Some(true));
    let mut volumes = workload.pod.volumes.iter().flatten();
    let volume = volumes.find(|volume| volume.name == mount.name);
    let secret = volume.and_then(|volume| volume.secret.as_ref());
    let name = secret.and_then(|secret| secret.secret_name.clone());
    (name.expect("a Secret"), file.display().to_string())
}

/// Secrets that a set makes: by cert-manager, or by `weir certs init`.
fn made(set: &Set) -> BTreeSet<String> {
    let generated = workloads(set).iter().any(|workload| {
        let weirs = workload.weirs();
        let mut commands = weirs.iter().map(|(_, cli)| &cli.command);
        commands.any(|command| matches!(command, Command::Certs(_)))
    });
    let ours: &[&str] = if generated {
        &[
            "weir-aggregator-tls",
            "weir-collector-tls",
            "weir-client-tls",
        ]
    } else {
        &[]
    };
    let certificates = set.of_kind("Certificate");
    let theirs = certificates.map(|object| object.typed::<Certificate>().spec.secret_name);
    theirs.chain(ours.iter().map(ToString::to_string)).collect()
}

/// The CA's Secret is made by one Certificate and used by one Issuer, which signs all others.
#[test]
fn cert_manager_s_certificates_are_of_one_ca_and_have_the_names_that_are_asked_for() {
    let sets = super::sets();
    let set = sets
        .iter()
        .find(|set| set.of_kind("Certificate").count() > 0);
    let set = set.expect("an overlay for cert-manager");
    let mut roots = BTreeSet::new();
    for issuer in set.of_kind("Issuer") {
        if let IssuerSpec::Ca { secret_name } = issuer.typed::<Issuer>().spec {
            roots.insert((issuer.name().to_owned(), secret_name));
        }
    }
    let ca = ("weir-ca".to_owned(), "weir-ca".to_owned());
    assert_eq!(roots, BTreeSet::from([ca]));
    for object in set.of_kind("Certificate") {
        let spec = object.typed::<Certificate>().spec;
        let issuer = if object.name() == "weir-ca" {
            "weir-selfsigned"
        } else {
            "weir-ca"
        };
        assert_eq!(spec.issuer_ref.name, issuer);
        assert_eq!(spec.secret_name, object.name());
    }
    let certificates = set.of_kind("Certificate");
    let mut named = certificates.filter(|object| object.name() == "weir-aggregator-tls");
    let spec = named
        .next()
        .expect("the aggregator's")
        .typed::<Certificate>()
        .spec;
    for name in [
        "weir-aggregator.weir.svc",
        "hubble-relay.weir.svc",
        "localhost",
    ] {
        assert!(spec.dns_names.iter().any(|found| found == name), "{name}");
    }
    assert!(spec.usages.iter().any(|usage| usage == "server auth"));
}

//! Lines and tables, to the character.

use super::*;
use crate::{Item, Record, samples};

fn plain(record: Record) -> String {
    compact(&Item::Flow(record), Style::default())
}

#[test]
fn an_allowed_flow_is_hubbles_line_with_the_rule() {
    assert_eq!(
        plain(samples::allowed()),
        "Jan  2 15:04:05.123: shop/web-1:41234 (ID:51234) -> shop/db-0:5432 (ID:40123) \
         policy-verdict:L3-L4 INGRESS ALLOWED (TCP Flags: SYN; by NetworkPolicy shop/db ingress rule 0)"
    );
}

#[test]
fn a_default_deny_names_the_isolating_policies_and_the_nearest_miss() {
    assert_eq!(
        plain(samples::denied()),
        "Jan  2 15:04:05.123: shop/job-7:50312 (ID:18233) <> shop/db-0:5432 (ID:40123) \
         policy-verdict:none INGRESS DENIED (TCP Flags: SYN; \
         default deny of NetworkPolicy shop/db, NetworkPolicy shop/default-deny; \
         nearest miss: db rule 0: port matches, label app=web is missing)"
    );
}

#[test]
fn an_ended_flow_to_a_service_names_the_service_its_counts_and_its_end() {
    assert_eq!(
        plain(samples::service()),
        "Jan  2 15:04:05.123: shop/web-1:40000 (ID:51234) -> kube-system/dns:53 (unknown) \
         to-stack FORWARDED (UDP; no policy isolates the source; \
         2 packets 160 bytes out, 2 packets 320 bytes in; ended: idle)"
    );
}

#[test]
fn an_audited_ping_has_no_ports() {
    assert_eq!(
        plain(samples::audited()),
        "Jan  2 15:04:05.123: shop/db-0 (ID:40123) -> 192.0.2.1 (world) \
         policy-verdict:none EGRESS AUDITED (ICMPv4 EchoRequest; \
         default deny of NetworkPolicy shop/db, NetworkPolicy shop/default-deny; source NAT suspected)"
    );
}

#[test]
fn an_ipv6_address_with_a_port_is_bracketed() {
    let record = Record {
        service: None,
        ..samples::service()
    };
    assert!(plain(record).contains("-> [fd00:1::a]:53 (unknown)"));
}

#[test]
fn the_node_is_shown_on_request() {
    let style = Style {
        node: NodeName::Shown,
        ..Style::default()
    };
    let line = compact(&Item::Flow(samples::allowed()), style);
    assert!(
        line.starts_with("Jan  2 15:04:05.123 [node-1]: shop/web-1"),
        "{line}"
    );
}

#[test]
fn a_loss_says_where_how_many_and_when() {
    assert_eq!(
        compact(&Item::Loss(samples::loss()), Style::default()),
        "Jan  2 15:04:05.123: EVENTS LOST: uplink 17 records of shop/db-0 \
         (first: Jan  2 15:04:04.123, last: Jan  2 15:04:05.123)"
    );
}

#[test]
fn colours_wrap_words_and_change_none() {
    let style = Style {
        color: Color::Ansi,
        ..Style::default()
    };
    let line = compact(&Item::Flow(samples::denied()), style);
    assert!(line.contains("\x1b[31mDENIED\x1b[0m"), "{line}");
    let mut plain_again = line;
    for code in ["\x1b[36m", "\x1b[33m", "\x1b[2m", "\x1b[31m", "\x1b[0m"] {
        plain_again = plain_again.replace(code, "");
    }
    assert_eq!(plain_again, plain(samples::denied()));
}

#[test]
fn control_characters_in_names_do_not_reach_the_terminal() {
    let record = Record {
        local: samples::pod("shop", "db\x1b[2J\r", "db", 40123),
        nearest_miss: Some("a\nb\x07".into()),
        ..samples::denied()
    };
    assert!(!plain(record).contains(char::is_control));
}

#[test]
fn a_table_is_aligned_with_and_without_colours() {
    let items = samples::items();
    let text = table(&items, Style::default());
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 6);
    let at = lines[0].find("VERDICT").unwrap();
    let verdicts: Vec<_> = lines[1..5]
        .iter()
        .map(|line| line[at..].split("  ").next().unwrap())
        .collect();
    assert_eq!(verdicts, ["ALLOWED", "DENIED", "FORWARDED", "AUDITED"]);
    let style = Style {
        color: Color::Ansi,
        ..Style::default()
    };
    let painted = table(&items[..1], style);
    let summary_at = |text: &str, line: usize, word: &str| {
        let line = text.lines().nth(line).unwrap().to_owned();
        let line = line.replace("\x1b[32m", "").replace("\x1b[0m", "");
        line.find(word).unwrap()
    };
    assert_eq!(
        summary_at(&painted, 0, "SUMMARY"),
        summary_at(&painted, 1, "TCP Flags")
    );
}

//! The plugin's answers that need no kernel, and its installation.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::Parser as _;
use serde_json::{Value, json};

use super::{PLUGIN, answer, install, is_plugin, uninstall};
use crate::args::{Cli, CniCommand, Command};

fn ask(environment: &[(&str, &str)], config: &str) -> Result<Option<Value>, Value> {
    let environment: BTreeMap<&str, &str> = environment.iter().copied().collect();
    let variable = |name: &str| environment.get(name).map(ToString::to_string);
    answer(variable, config.as_bytes())
}

const SANDBOX: [(&str, &str); 4] = [
    ("CNI_COMMAND", "ADD"),
    ("CNI_CONTAINERID", "c1"),
    ("CNI_NETNS", "/run/netns/weir-no-such-namespace"),
    ("CNI_IFNAME", "eth0"),
];

fn with(command: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut environment = SANDBOX.to_vec();
    environment[0].1 = command;
    environment
}

fn config(more: Value) -> String {
    let mut config = json!({"cniVersion": "1.0.0", "name": "net", "type": PLUGIN,
        "socket": "/nonexistent/hubble.sock", "timeoutSeconds": 1});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config.to_string()
}

#[test]
fn the_name_of_the_program_makes_it_the_plugin() {
    assert!(is_plugin(Some("/opt/cni/bin/weir-cni".as_ref())));
    assert!(!is_plugin(Some("/usr/bin/weir".as_ref())));
    assert!(!is_plugin(None));
}

#[test]
fn version_says_what_is_spoken() {
    let said = ask(&[("CNI_COMMAND", "VERSION")], r#"{"cniVersion":"1.0.0"}"#);
    let said = said.unwrap().unwrap();
    assert_eq!(said["cniVersion"], "1.0.0");
    let versions = said["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&"1.0.0".into()) && versions.contains(&"1.1.0".into()));
}

#[test]
fn each_fault_has_the_number_of_the_specification() {
    let code = |environment: &[(&str, &str)], config: &str| {
        let error = ask(environment, config).unwrap_err();
        (
            error["code"].as_u64().unwrap(),
            error["msg"].as_str().unwrap().to_owned(),
        )
    };
    let prev = json!({"prevResult": {"interfaces": [], "ips": []}});
    let cases = [
        (
            SANDBOX.to_vec(),
            config(json!({"cniVersion": "9.0.0"})),
            1,
            "9.0.0",
        ),
        (
            SANDBOX.to_vec(),
            config(prev.clone()),
            3,
            "weir-no-such-namespace",
        ),
        (vec![], config(prev.clone()), 4, "CNI_COMMAND"),
        (with("JUMP"), config(prev.clone()), 4, "JUMP"),
        (SANDBOX[..3].to_vec(), config(prev), 4, "CNI_IFNAME"),
        (SANDBOX.to_vec(), "{".to_owned(), 6, "no JSON"),
        (SANDBOX.to_vec(), config(json!({})), 7, "prevResult"),
        (
            SANDBOX.to_vec(),
            config(json!({"whenAbsent": "maybe"})),
            7,
            "maybe",
        ),
        (
            SANDBOX.to_vec(),
            config(json!({"timeoutSeconds": 0})),
            7,
            "timeoutSeconds",
        ),
        (
            with("STATUS"),
            config(json!({})),
            50,
            "/nonexistent/hubble.sock",
        ),
    ];
    for (environment, config, expected, named) in cases {
        let (code, text) = code(&environment, &config);
        assert_eq!(code, expected, "{text}");
        assert!(text.contains(named), "{text}");
    }
}

#[test]
fn an_error_is_in_the_version_of_the_configuration() {
    let error = ask(&SANDBOX, &config(json!({}))).unwrap_err();
    assert_eq!(error["cniVersion"], "1.0.0");
}

#[test]
fn del_gc_and_status_without_a_collector_let_go() {
    for command in ["DEL", "GC"] {
        assert_eq!(
            ask(&[("CNI_COMMAND", command)], &config(json!({}))),
            Ok(None)
        );
    }
    let pass = config(json!({"whenAbsent": "pass"}));
    assert_eq!(ask(&[("CNI_COMMAND", "STATUS")], &pass), Ok(None));
}

fn command(args: &[&str], dir: &Path) -> CniCommand {
    let (bin, conf) = (dir.join("bin"), dir.join("net.d"));
    let mut line = vec!["weir", "cni"];
    line.extend(args);
    let dirs = [
        format!("--bin-dir={}", bin.display()),
        format!("--conf-dir={}", conf.display()),
    ];
    line.extend(dirs.iter().map(String::as_str));
    match Cli::try_parse_from(line).unwrap().command {
        Command::Cni(args) => args.command.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn run(args: &[&str], dir: &Path) -> anyhow::Result<()> {
    match command(args, dir) {
        CniCommand::Install(args) => install(&args),
        CniCommand::Uninstall(paths) => uninstall(&paths),
    }
}

fn node(file: &str, config: &Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("bin")).unwrap();
    fs::create_dir(dir.path().join("net.d")).unwrap();
    fs::write(dir.path().join("net.d").join(file), config.to_string()).unwrap();
    dir
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn installed_twice_it_is_once_and_last_in_the_chain_and_uninstalled_all_is_as_before() {
    let before = json!({"cniVersion": "1.0.0", "name": "net", "disableCheck": true,
        "plugins": [{"type": "ptp", "mtu": 1400}, {"type": "portmap"}]});
    let dir = node("10-net.conflist", &before);
    fs::write(dir.path().join("net.d/20-other.conflist"), "{}").unwrap();
    run(&["install", "--timeout-seconds=3"], dir.path()).unwrap();
    run(&["install", "--when-absent=pass"], dir.path()).unwrap();
    let list = dir.path().join("net.d/10-net.conflist");
    let types: Vec<Value> = read(&list)["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| plugin["type"].clone())
        .collect();
    assert_eq!(types, ["ptp", "portmap", PLUGIN]);
    let plugin = &read(&list)["plugins"][2];
    assert_eq!(plugin["whenAbsent"], "pass");
    assert_eq!(plugin["timeoutSeconds"], 10);
    assert_eq!(plugin["socket"], "/run/weir/hubble.sock");
    let binary = dir.path().join("bin").join(PLUGIN);
    assert_eq!(
        fs::metadata(&binary).unwrap().permissions().mode() & 0o777,
        0o755
    );
    assert_eq!(
        fs::read(&binary).unwrap(),
        fs::read(std::env::current_exe().unwrap()).unwrap()
    );
    run(&["uninstall"], dir.path()).unwrap();
    assert_eq!(read(&list), before);
    assert!(!binary.exists());
    run(&["uninstall"], dir.path()).expect("twice is as good as once");
}

#[test]
fn a_single_plugin_becomes_a_list() {
    let dir = node(
        "10-net.conf",
        &json!({"cniVersion": "0.4.0", "name": "net", "type": "ptp"}),
    );
    run(&["install"], dir.path()).unwrap();
    let list = read(&dir.path().join("net.d/10-net.conflist"));
    assert_eq!(
        (&list["cniVersion"], &list["name"]),
        (&"0.4.0".into(), &"net".into())
    );
    assert_eq!(list["plugins"][0]["type"], "ptp");
    assert_eq!(list["plugins"][1]["type"], PLUGIN);
    assert!(
        !dir.path().join("net.d/10-net.conf").exists(),
        "two networks else"
    );
}

#[test]
fn without_a_configuration_nothing_is_installed() {
    let dir = node("readme.txt", &json!({}));
    let error = run(&["install"], dir.path()).unwrap_err().to_string();
    assert!(error.contains("has no network configuration"), "{error}");
    let dir = node("10-net.conflist", &json!({"plugins": []}));
    let error = run(&["install"], dir.path()).unwrap_err().to_string();
    assert!(error.contains("10-net.conflist"), "{error}");
    assert_eq!(fs::read_dir(dir.path().join("bin")).unwrap().count(), 0);
}

//! `weir cni install` and `uninstall`: the binary in its place, and the plugin in the node's network configuration. A
//! file is replaced whole or not at all; runtimes read it at any moment.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use super::PLUGIN;
use crate::args::{CniInstallArgs, CniPaths, WhenAbsentArg};

/// Copies this binary and puts the plugin at the end of the chain, or renews it there.
///
/// # Errors
/// There is no network configuration yet, it cannot be read, or a file cannot be written; what was there stays.
pub(crate) fn install(args: &CniInstallArgs) -> anyhow::Result<()> {
    let path = active(&args.paths.conf_dir)?;
    let mut list = read_list(&path)?;
    remove_plugin(&mut list);
    plugins(&mut list, &path)?.push(entry(args));
    // The binary first: a chain that names it must find it.
    copy_binary(&args.paths.bin_dir)?;
    let renamed = write_list(&path, &list)?;
    tracing::info!(file = %renamed.display(), "the plugin is last in the chain");
    Ok(())
}

/// Takes the plugin out of every configuration, then removes the binary.
///
/// # Errors
/// A file cannot be read or written.
pub(crate) fn uninstall(paths: &CniPaths) -> anyhow::Result<()> {
    for path in configurations(&paths.conf_dir)? {
        let mut list = read_list(&path)?;
        if remove_plugin(&mut list) {
            let written = write_list(&path, &list)?;
            tracing::info!(file = %written.display(), "the plugin is in the chain no more");
        }
    }
    let binary = paths.bin_dir.join(PLUGIN);
    match fs::remove_file(&binary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(anyhow!("cannot remove {}: {error}", binary.display()))
        }
        _ => Ok(()),
    }
}

/// The configurations in the order in which runtimes take them.
fn configurations(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot list {}", dir.display()))?
            .path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("conf" | "conflist" | "json")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The configuration that the node's runtime uses: the first.
fn active(dir: &Path) -> anyhow::Result<PathBuf> {
    let first = configurations(dir)?.into_iter().next();
    first.ok_or_else(|| {
        anyhow!(
            "{} has no network configuration: the cluster's network plugin has not written its own yet",
            dir.display()
        )
    })
}

/// A list of plugins; a single plugin's configuration becomes a list of one.
fn read_list(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let value: Value =
        serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))?;
    let Value::Object(mut value) = value else {
        bail!("{}: no JSON object", path.display());
    };
    if value.contains_key("plugins") {
        return Ok(value);
    }
    let version = value.remove("cniVersion").unwrap_or_else(|| "0.3.1".into());
    let name = value.get("name").cloned().unwrap_or_default();
    let list = json!({ "cniVersion": version, "name": name, "plugins": [value] });
    match list {
        Value::Object(list) => Ok(list),
        _ => unreachable!("json! of braces makes an object"),
    }
}

fn plugins<'l>(
    list: &'l mut Map<String, Value>,
    path: &Path,
) -> anyhow::Result<&'l mut Vec<Value>> {
    let plugins = list.get_mut("plugins").and_then(Value::as_array_mut);
    plugins
        .filter(|plugins| !plugins.is_empty())
        .ok_or_else(|| anyhow!("{}: `plugins` is no list of plugins", path.display()))
}

/// True if it was there.
fn remove_plugin(list: &mut Map<String, Value>) -> bool {
    let Some(plugins) = list.get_mut("plugins").and_then(Value::as_array_mut) else {
        return false;
    };
    let before = plugins.len();
    plugins.retain(|plugin| plugin["type"] != PLUGIN);
    plugins.len() < before
}

fn entry(args: &CniInstallArgs) -> Value {
    json!({
        "type": PLUGIN,
        "socket": args.socket,
        "timeoutSeconds": args.timeout_seconds,
        "policyWaitSeconds": args.policy_wait_seconds,
        "whenAbsent": match args.when_absent {
            WhenAbsentArg::Fail => "fail",
            WhenAbsentArg::Pass => "pass",
        },
    })
}

/// Writes the list where it was read; runtimes take a list from a `.conflist` only. Returns where it is now.
fn write_list(path: &Path, list: &Map<String, Value>) -> anyhow::Result<PathBuf> {
    let mut text = serde_json::to_vec_pretty(list).context("a list of plugins as JSON")?;
    text.push(b'\n');
    let list_path = path.with_extension("conflist");
    let mode = fs::metadata(path).map_or(0o644, |metadata| metadata.permissions().mode() & 0o777);
    replace(&list_path, mode, |file| file.write_all(&text))?;
    if list_path != path {
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(list_path)
}

fn copy_binary(bin_dir: &Path) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("cannot find this program's file")?;
    let mut from = File::open(&own).with_context(|| format!("cannot read {}", own.display()))?;
    replace(&bin_dir.join(PLUGIN), 0o755, |file| {
        io::copy(&mut from, file).map(drop)
    })
}

/// Writes a file beside its place, and puts it there when it is whole and on disk. Its name meanwhile is none that a
/// runtime reads.
fn replace(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> anyhow::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let put = || -> io::Result<()> {
        let mut temporary = NamedTempFile::with_prefix_in(".weir-cni-", dir)?;
        write(temporary.as_file_mut())?;
        let file = temporary.as_file();
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        temporary.persist(path)?;
        File::open(dir)?.sync_all()
    };
    put().with_context(|| format!("cannot write {}", path.display()))
}

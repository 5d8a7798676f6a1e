//! The demo's running parts: manifests, collectors, aggregator, and `weir` commands against them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use weir_testkit::{Cluster, ManifestDir, NetNs, RunningProcess};

use super::print;

const START_PATIENCE: Duration = Duration::from_secs(30);

/// Everything that runs beside the cluster. Dropping it kills the processes.
pub(super) struct Stage {
    weir: PathBuf,
    directory: tempfile::TempDir,
    manifests: ManifestDir,
    processes: Vec<RunningProcess>,
    followers: Vec<Child>,
}

impl Stage {
    /// A stage with the cluster's manifests and these policies (file name, YAML).
    pub(super) fn new(cluster: &Cluster, policies: &[(&str, &str)]) -> anyhow::Result<Self> {
        let manifests = ManifestDir::new()?;
        manifests.put("cluster.yaml", &cluster.manifests())?;
        for (file, yaml) in policies {
            manifests.put(file, yaml)?;
        }
        let directory = tempfile::Builder::new()
            .prefix("weir-demo-")
            .tempdir()
            .context("cannot make a directory for the demo")?;
        let weir = std::env::current_exe().context("cannot find the weir binary")?;
        Ok(Self {
            weir,
            directory,
            manifests,
            processes: Vec::new(),
            followers: Vec::new(),
        })
    }

    /// Where the manifests are.
    pub(super) fn manifests(&self) -> &ManifestDir {
        &self.manifests
    }

    /// A file or directory of the demo's own.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The address of a server's unix socket, for `--server`.
    pub(super) fn server(&self, name: &str) -> String {
        format!("unix://{}", self.path(&format!("{name}.sock")).display())
    }

    /// Starts `weir` in a namespace; returns when it says that it is ready.
    pub(super) fn start(
        &mut self,
        netns: &NetNs,
        name: &str,
        args: &[String],
    ) -> anyhow::Result<()> {
        let mut command = netns.command(&self.weir);
        command.args(args).env("WEIR_LOG", "info");
        let log = self.path(&format!("{name}.log"));
        let mut process = RunningProcess::spawn(command, &log)?;
        process
            .wait_for_line("ready", START_PATIENCE)
            .with_context(|| format!("{name} did not start"))?;
        self.processes.push(process);
        Ok(())
    }

    /// Arguments that every collector of the demo has.
    pub(super) fn collector_args(
        &self,
        name: &str,
        pin_root: &Path,
    ) -> anyhow::Result<Vec<String>> {
        let state = self.path(&format!("{name}-state"));
        fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        let socket = self.path(&format!("{name}.sock"));
        Ok([
            "collector".to_owned(),
            format!("--node={name}"),
            format!("--manifests={}", self.manifests.path().display()),
            format!("--pin-root={}", pin_root.display()),
            format!("--state-dir={}", state.display()),
            format!("--unix-socket={}", socket.display()),
        ]
        .into())
    }

    /// Runs a `weir` command as a user would, and shows it with its output.
    pub(super) fn show(&self, args: &[&str]) -> anyhow::Result<String> {
        print::weir(&args.join(" "));
        let output = Command::new(&self.weir)
            .args(args)
            .output()
            .context("cannot run weir")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.is_empty() && !output.stderr.is_empty() {
            bail!(
                "weir {}: {}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        print::text(&text);
        Ok(text)
    }

    /// Shows live verdict lines from now on.
    pub(super) fn follow(&mut self, server: &str) -> anyhow::Result<()> {
        let args = [
            "observe",
            "--follow",
            "--color",
            print::colour_choice(),
            "--server",
            server,
        ];
        print::weir(&args.join(" "));
        let child = Command::new(&self.weir)
            .args(args)
            .stdin(Stdio::null())
            .spawn()
            .context("cannot run weir observe")?;
        self.followers.push(child);
        Ok(())
    }

    /// Ends the live lines.
    pub(super) fn unfollow(&mut self) {
        for mut child in self.followers.drain(..) {
            // It may have ended by itself, with its server.
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }

    /// Ends everything cleanly: the aggregator writes its last Parquet file.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        self.unfollow();
        while let Some(mut process) = self.processes.pop() {
            process.terminate(Duration::from_secs(10))?;
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.unfollow();
    }
}

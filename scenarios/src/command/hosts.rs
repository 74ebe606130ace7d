//! `lockbench hosts`: nodes on machines that ssh reaches.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use harness::placement::remote::make_keys;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::signals::watch_signals;
use super::verb::{Example, Group, Work};

/// For a driver that was told to end, and for hosts whose driver has ended.
const GRACE: Duration = Duration::from_secs(30);

/// Run with nodes on machines that ssh reaches.
#[derive(Debug, Args)]
pub(super) struct Hosts {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Copy lockbench and fresh keys to each machine, run a scenario with nodes there, and take all of it away again.
    Run(Run),
}

#[derive(Debug, Args)]
struct Run {
    /// A machine a line, as ssh knows it, and how many nodes it takes (1 where not given); # begins a comment.
    #[arg(value_name = "FILE")]
    machines: PathBuf,
    /// Where the driver is to be reached from there.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The program that is copied, which must run there: a static one does everywhere (`make static`). This one where not given.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// How machines are reached, with options.
    #[arg(long, value_name = "COMMAND", default_value = "ssh -o BatchMode=yes")]
    ssh: String,
    /// What is run: a scenario, and options of `lockbench run`.
    #[arg(required = true, last = true, value_name = "SCENARIO OPTIONS")]
    run: Vec<String>,
}

impl Work for Hosts {
    const NAME: &str = "hosts";
    const GROUP: Group = Group::Place;
    const EXAMPLES: &[Example] = &[(
        "Twelve nodes on the machines of a list",
        "lockbench hosts run machines.txt --listen 10.0.0.4:7400 -- vm-lifecycle --nodes 12 --redis redis://10.0.0.5:6379",
    )];

    async fn work(self) -> anyhow::Result<u8> {
        let What::Run(run) = self.what;
        run.work().await
    }
}

/// A machine of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Machine {
    target: String,
    nodes: u16,
}

/// Reads the list; an error names its line.
fn machines(origin: &str, text: &str) -> anyhow::Result<Vec<Machine>> {
    let mut machines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        let Some(target) = words.next() else { continue };
        let wrong = |what: &str| format!("{origin}:{}: {what}", number + 1);
        let nodes = words.next().map_or(Ok(1), str::parse).ok().filter(|nodes| (1..=1000).contains(nodes));
        let nodes = nodes
            .with_context(|| wrong("behind a machine stands how many nodes it takes, from 1 to 1000"))?;
        ensure!(words.next().is_none(), wrong("a line is a machine, and how many nodes it takes"));
        // ssh would take it for an option.
        ensure!(!target.starts_with('-'), wrong("no machine is called so"));
        machines.push(Machine { target: target.to_owned(), nodes });
    }
    ensure!(!machines.is_empty(), "{origin}: there is no machine in it");
    Ok(machines)
}

impl Run {
    async fn work(self) -> anyhow::Result<u8> {
        let origin = self.machines.display().to_string();
        let text = std::fs::read_to_string(&self.machines).with_context(|| origin.clone())?;
        let machines = machines(&origin, &text)?;
        if self.listen.ip().is_unspecified() || self.listen.port() == 0 {
            bail!("--listen {}: machines must know which address and port to dial", self.listen);
        }
        let own = std::env::current_exe().context("cannot find the program of lockbench itself")?;
        let program = self.program.clone().unwrap_or_else(|| own.clone());
        let keys = tempfile::tempdir()?;
        make_keys(keys.path()).map_err(anyhow::Error::msg)?;
        let stop = CancellationToken::new();
        let mut signals = tokio::task::JoinSet::new();
        signals.spawn(watch_signals(stop.clone())?);

        let mut there = Vec::new();
        let ended = tokio::select! {
            ended = self.begun(&machines, &mut there, (&own, &program, keys.path()), &stop) => ended,
            () = async { stop.cancelled().await; sleep(GRACE).await } => Err(anyhow!("told to end")),
        };
        for (machine, folder) in machines.iter().zip(&there) {
            if let Err(error) = self.at(machine, &format!("rm -rf {folder}"), None).await {
                eprintln!("{}: {folder} was not taken away: {error:#}", machine.target);
            }
        }
        Ok(ended?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2))
    }

    /// From the first copy to the end of the last host; notes the folders that are made.
    async fn begun(
        &self,
        machines: &[Machine],
        there: &mut Vec<String>,
        (own, program, keys): (&Path, &Path, &Path),
        stop: &CancellationToken,
    ) -> anyhow::Result<ExitStatus> {
        for machine in machines {
            there.push(self.folder(machine).await?);
        }
        for (machine, folder) in machines.iter().zip(there.iter()) {
            self.fill(machine, folder, program, keys).await?;
        }
        let mut driver = self.driver(own, keys)?;
        let mut hosts = JoinSet::new();
        for (machine, folder) in machines.iter().zip(there.iter()) {
            let mut host = self.host(machine, folder)?;
            let target = machine.target.clone();
            hosts.spawn(async move { (target, host.wait().await) });
        }
        let status = tokio::select! {
            status = driver.wait() => status?,
            () = stop.cancelled() => {
                if let Some(id) = driver.id() {
                    kill(Pid::from_raw(id.cast_signed()), Signal::SIGINT).ok();
                }
                driver.wait().await?
            }
            // One that ends before it is let go has said why.
            Some(Ok((target, ended))) = hosts.join_next() => bail!("{target}: its host has ended ({})", ended?),
        };
        // They hear from the driver that no more is wanted, or that it is gone.
        drop(timeout(GRACE, async { while hosts.join_next().await.is_some() {} }).await);
        Ok(status)
    }

    /// Makes a folder on a machine.
    async fn folder(&self, machine: &Machine) -> anyhow::Result<String> {
        let folder = self.at(machine, "umask 077 && mktemp -d /tmp/lockbench-host.XXXXXX", None).await?;
        let folder = folder.trim().to_owned();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        ensure!(
            folder.starts_with("/tmp/lockbench-host.") && folder.bytes().all(plain),
            "{}: its mktemp says `{folder}`",
            machine.target
        );
        Ok(folder)
    }

    /// Copies what is needed into it.
    async fn fill(&self, machine: &Machine, folder: &str, program: &Path, keys: &Path) -> anyhow::Result<()> {
        for (name, file) in [
            ("lockbench", program.to_owned()),
            ("ca.pem", keys.join("ca.pem")),
            ("node.pem", keys.join("node.pem")),
            ("node.key", keys.join("node.key")),
        ] {
            let content = std::fs::read(&file).with_context(|| file.display().to_string())?;
            let put = format!("umask 077 && cat > {folder}/{name} && chmod u+x {folder}/lockbench");
            self.at(machine, &put, Some(content)).await?;
        }
        let runs = self.at(machine, &format!("{folder}/lockbench --version"), None).await;
        runs.with_context(|| {
            format!(
                "{}: {} does not run there; a static program does: `make static`, then --program",
                machine.target,
                program.display()
            )
        })?;
        Ok(())
    }

    fn ssh(&self, machine: &Machine) -> anyhow::Result<Command> {
        let mut words = self.ssh.split_whitespace();
        let mut command = Command::new(words.next().context("--ssh: there is no command in it")?);
        command.args(words).arg("--").arg(&machine.target).kill_on_drop(true);
        // Ctrl-C is for us: hosts go when the driver lets them.
        command.as_std_mut().process_group(0);
        Ok(command)
    }

    /// Runs a line of shell there; what it prints.
    async fn at(&self, machine: &Machine, line: &str, input: Option<Vec<u8>>) -> anyhow::Result<String> {
        let mut command = self.ssh(machine)?;
        command.arg(line).stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = || format!("{}: `{}`", machine.target, self.ssh);
        let mut child = command.spawn().with_context(failed)?;
        let writing = child.stdin.take().zip(input);
        let write = async {
            if let Some((mut to, input)) = writing {
                // Whoever does not take it says why.
                drop(to.write_all(&input).await);
            }
        };
        let ((), output) = tokio::join!(write, child.wait_with_output());
        let output = output.with_context(failed)?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(output.status.success(), "{}: {said} ({})", machine.target, output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn host(&self, machine: &Machine, folder: &str) -> anyhow::Result<Child> {
        let Machine { target, nodes } = machine;
        let mut command = self.ssh(machine)?;
        // A name that a shell does not look into.
        let name: String =
            target.chars().filter(|c| c.is_ascii_alphanumeric() || ".-@_".contains(*c)).collect();
        command.arg(format!(
            "{folder}/lockbench node --join {} --keys {folder} --nodes {nodes} --name {name}",
            self.listen
        ));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn();
        child.with_context(|| format!("{target}: `{}`", self.ssh))
    }

    fn driver(&self, own: &Path, keys: &Path) -> anyhow::Result<Child> {
        let mut command = Command::new(own);
        command.arg("run").args(&self.run).args(["--placement", "remote"]);
        command.args(["--listen", &self.listen.to_string(), "--keys"]).arg(keys).kill_on_drop(true);
        // Ctrl-C is for us, who pass it on: told twice it would leave at once.
        command.as_std_mut().process_group(0);
        Ok(command.spawn()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_machine_a_line_and_an_error_names_it() {
        let machines = |text| machines("list", text);
        let machine = |target: &str, nodes| Machine { target: target.to_owned(), nodes };
        let list = machines("# ours\nroot@a 4\n\n b   # one\n").unwrap();
        assert_eq!(list, [machine("root@a", 4), machine("b", 1)]);
        for (text, what) in [
            ("a\nb four", "list:2: behind a machine"),
            ("a 0", "list:1: behind a machine"),
            ("a 1 2", "list:1: a line is"),
            ("-oProxyCommand=x", "list:1: no machine"),
            ("# none", "list: there is no machine"),
        ] {
            let error = machines(text).unwrap_err().to_string();
            assert!(error.starts_with(what), "{error}");
        }
    }
}

//! Programs of others, which speak with us over their standard input and output. Like all our children they cannot outlive this
//! process; of our environment they are given only what a program needs to start, so that no secret of somebody else is in
//! it; and where we are root, they run as an account that may do nothing.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use nix::unistd::{User, geteuid};
use tokio::process::{ChildStdin, ChildStdout};

use crate::child::{Process, SETPRIV, on_path, tied_as};

/// The accounts that programs of others may run as where we are root, best first.
const ACCOUNTS: &[&str] = &["lockbench", "nobody"];

/// What a program finds in its environment of ours.
const PASSED_ON: &[&str] = &["PATH", "LANG", "LC_ALL", "TZ"];

/// How much of the end of a log is quoted.
const QUOTED: usize = 2_048;

/// How a program is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// The program, a path or a name to be found on PATH; a path is meant from the folder.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Where it works; by default where we do.
    pub folder: Option<PathBuf>,
    /// Its environment, beside what every program needs.
    pub env: Vec<(String, String)>,
    /// Where its standard error is appended; by default to a file that is gone with it.
    pub log: Option<PathBuf>,
    /// Whose it is.
    pub account: Account,
}

/// As whom a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// As we do: it is one of ours.
    Ours,
    /// As one that may do nothing, where we may choose: only root can.
    Unprivileged,
}

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program that ties its life to ours is missing.
    #[error("the program setpriv is missing; on Debian and Ubuntu: `apt-get install util-linux`")]
    SetprivMissing,
    /// There is nobody whom it may run as.
    #[error(
        "a program of somebody else does not run as root, and there is no account `lockbench` or `nobody`: `adduser --system lockbench`"
    )]
    NoAccount,
    /// The system refuses.
    #[error("cannot start {}: {source}", .program.display())]
    Spawn {
        /// Which.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its log cannot be written.
    #[error("cannot write the log of {}: {source}", .program.display())]
    Log {
        /// Whose.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A program that runs. When dropped, it and all that it started are killed.
#[derive(Debug)]
pub struct Program {
    process: Process,
    log: File,
    account: Option<String>,
}

/// What is said to a program, and what it says.
#[derive(Debug)]
pub struct Pipes {
    /// Its standard input.
    pub to: ChildStdin,
    /// Its standard output.
    pub from: ChildStdout,
}

impl Program {
    /// Starts it.
    ///
    /// Cancel safe: one that nobody waits for any more is killed.
    ///
    /// # Errors
    /// When it cannot be started.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn spawn(start: Start) -> Result<(Self, Pipes), StartError> {
        let Start { program, args, folder, env, log, account } = start;
        let user = match account {
            Account::Unprivileged if geteuid().is_root() => {
                Some(unprivileged().ok_or(StartError::NoAccount)?)
            }
            Account::Unprivileged | Account::Ours => None,
        };
        let log_failed = |source| StartError::Log { program: program.clone(), source };
        let log = open_log(log.as_deref()).map_err(log_failed)?;
        let errors = log.try_clone().map_err(log_failed)?;
        let mut command = tied_as(&program, user.as_ref()).ok_or(StartError::SetprivMissing)?;
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        command.env_clear().envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        let home = match &user {
            // That of an account which may do nothing is often nowhere; ours it may not enter.
            Some(user) => user.dir.clone().into_os_string(),
            None => std::env::var_os("HOME").unwrap_or_else(|| "/".into()),
        };
        command.env("HOME", home).envs(env);
        if let Some(folder) = folder {
            command.current_dir(folder);
        }
        let failed = |source| StartError::Spawn { program: program.clone(), source };
        let mut process = Process::spawn(command).await.map_err(failed)?;
        let (to, from) = process.pipes().expect("the command asks for both");
        let to = ChildStdin::from_std(to).map_err(failed)?;
        let from = ChildStdout::from_std(from).map_err(failed)?;
        Ok((Self { process, log, account: user.map(|user| user.name) }, Pipes { to, from }))
    }

    /// Whether this machine has what it takes to start one.
    #[must_use]
    pub fn is_on_path(program: &str) -> bool {
        on_path(SETPRIV).is_some() && on_path(program).is_some()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The account that it runs as, where that is another than ours.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Waits until it has ended. Cancel safe.
    ///
    /// # Errors
    /// When the system does not tell.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Stops it and all that it started, and returns when none of them runs any more.
    ///
    /// # Errors
    /// When it is gone, or does not stop within a second.
    pub async fn pause(&self) -> io::Result<()> {
        self.process.pause().await
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Kills it and all that it started, and returns when they are gone.
    ///
    /// # Errors
    /// When it has already ended.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.process.kill().await
    }

    /// The end of what it wrote to its standard error; empty where it wrote nothing.
    #[must_use]
    pub fn log_end(&self) -> String {
        let length = self.log.metadata().map_or(0, |meta| meta.len());
        let mut end = vec![0; QUOTED.min(usize::try_from(length).unwrap_or(QUOTED))];
        let from = length - end.len() as u64;
        let read = self.log.read_at(&mut end, from).unwrap_or(0);
        String::from_utf8_lossy(&end[..read]).trim().to_owned()
    }
}

/// Opened by us, so that an account which may do nothing can write it all the same.
fn open_log(path: Option<&Path>) -> io::Result<File> {
    match path {
        Some(path) => File::options().create(true).append(true).read(true).mode(0o600).open(path),
        None => tempfile::tempfile(),
    }
}

fn unprivileged() -> Option<User> {
    ACCOUNTS.iter().find_map(|name| User::from_name(name).ok().flatten())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn shell(script: &str, account: Account) -> Start {
        Start {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            folder: Some("/".into()),
            env: vec![("LOCKBENCH_NODE".to_owned(), "node-0".to_owned())],
            log: None,
            account,
        }
    }

    #[tokio::test]
    async fn a_program_has_no_environment_but_its_own_and_a_program_of_others_is_not_root() {
        let script = "env; echo uid $(id -u); echo a word >&2";
        let (mut program, mut pipes) = Program::spawn(shell(script, Account::Unprivileged)).await.unwrap();
        let mut said = String::new();
        pipes.from.read_to_string(&mut said).await.unwrap();
        assert!(program.wait().await.unwrap().success(), "{said}");
        assert!(said.contains("LOCKBENCH_NODE=node-0\n"), "{said}");
        // Every test has these of cargo, as a node has the run's secret.
        assert!(!said.contains("CARGO"), "{said}");
        assert!(!said.contains("uid 0\n"), "{said}");
        assert_eq!(program.account().is_some(), geteuid().is_root());
        assert_eq!(program.log_end(), "a word");
    }

    #[tokio::test]
    async fn a_program_that_is_dropped_is_gone_with_all_that_it_started() {
        let script = "sleep 600 & echo $!; wait";
        let (program, mut pipes) = Program::spawn(shell(script, Account::Ours)).await.unwrap();
        let mut said = [0; 16];
        let read = pipes.from.read(&mut said).await.unwrap();
        let child = String::from_utf8_lossy(&said[..read]).trim().to_owned();
        let lives = |pid: &str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
        };
        assert!(lives(&child) && lives(&program.id().to_string()));
        let own = program.id().to_string();
        tokio::task::spawn_blocking(move || drop(program)).await.unwrap();
        assert!(!lives(&child) && !lives(&own));
    }
}

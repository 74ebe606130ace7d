//! The command lines of a private server's programs: as whom they run, and how their life is tied to ours.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::{User, geteuid};
use tokio::time::timeout;

use super::about::About;
use super::error::ServerError;
use super::folder::Folder;
use crate::child::{self, Process, SETPRIV};

/// How long a program may take that prepares a data folder.
const PREPARED: Duration = Duration::from_secs(30);

/// A command that dies with the thread that spawns it, works in the folder and writes to its log.
///
/// A change of user clears the death signal, so `setpriv` is nested: the outer one changes the user, the inner one
/// sets the signal. Its own process group keeps a Ctrl-C at the terminal from the server: lockbench stops it.
pub(super) fn command(
    about: &About,
    program: &Path,
    user: Option<&User>,
    folder: &Folder,
) -> Result<Command, ServerError> {
    let setpriv = setpriv(about)?;
    let mut command = Command::new(&setpriv);
    if let Some(user) = user {
        command.args([format!("--reuid={}", user.uid), format!("--regid={}", user.gid)]);
        command.args(["--init-groups", "--"]).arg(&setpriv);
    }
    child::run_while_alive(&mut command, std::process::id(), program);
    let log_failed =
        |source| ServerError::Folder { product: about.title, action: "write", path: folder.log(), source };
    let log = File::options().create(true).append(true).mode(0o600).open(folder.log()).map_err(log_failed)?;
    let errors = log.try_clone().map_err(log_failed)?;
    command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir(folder.data()).process_group(0);
    Ok(command)
}

/// Runs a program that prepares the data folder to its end.
pub(super) async fn to_its_end(
    about: &About,
    command: Command,
    program: &Path,
    folder: &Folder,
) -> Result<(), ServerError> {
    let failed = |source| ServerError::Spawn { product: about.title, program: program.to_owned(), source };
    let mut process = Process::spawn(command).await.map_err(failed)?;
    let ended = timeout(PREPARED, process.wait()).await;
    let status = ended.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let (program, output) = (program.to_owned(), folder.log_end());
    Err(ServerError::Prepare { product: about.title, program, status, output })
}

/// The program that ties a server's life to ours.
pub(super) fn setpriv(about: &About) -> Result<PathBuf, ServerError> {
    child::on_path(SETPRIV).ok_or_else(|| ServerError::Missing {
        product: about.title,
        what: "the program setpriv".to_owned(),
        package: "util-linux",
    })
}

/// Whom a product's servers run as, if not as ourselves: the first of its accounts that this machine has, when we are root.
pub(super) fn user(about: &About) -> Result<Option<User>, ServerError> {
    if !geteuid().is_root() || about.accounts.is_empty() {
        return Ok(None);
    }
    let known = about.accounts.iter().find_map(|name| User::from_name(name).ok().flatten());
    let accounts = || about.accounts.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
    known.map(Some).ok_or_else(|| ServerError::NoUser { product: about.title, accounts: accounts() })
}

/// What a program prints when it is asked for its version.
pub(super) fn says_of_itself(program: &Path, product: &'static str) -> Result<String, ServerError> {
    let failed = |source| ServerError::Spawn { product, program: program.to_owned(), source };
    let output = Command::new(program).arg("--version").output().map_err(failed)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

//! The command lines of a private server's programs: as whom they run, and how their life is tied to ours.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
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
pub(super) fn command(
    about: &About,
    program: &Path,
    user: Option<&User>,
    folder: &Folder,
) -> Result<Command, ServerError> {
    let mut command = child::tied_as(program, user).ok_or_else(|| no_setpriv(about))?;
    let log_failed =
        |source| ServerError::Folder { product: about.title, action: "write", path: folder.log(), source };
    let log = File::options().create(true).append(true).mode(0o600).open(folder.log()).map_err(log_failed)?;
    let errors = log.try_clone().map_err(log_failed)?;
    command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir(folder.data());
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
    child::on_path(SETPRIV).ok_or_else(|| no_setpriv(about))
}

fn no_setpriv(about: &About) -> ServerError {
    ServerError::Missing {
        product: about.title,
        what: "the program setpriv".to_owned(),
        package: "util-linux",
    }
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

/// The main program that was named, if one was and it can be run.
///
/// # Errors
/// [`ServerError::Program`] where it cannot.
pub(super) fn named(about: &About, program: Option<&Path>) -> Result<Option<PathBuf>, ServerError> {
    let Some(path) = program else { return Ok(None) };
    // It works in another folder. What it is a link to may be a program that does by its name what it is called for.
    let whole = std::path::absolute(path).ok().filter(|whole| whole.is_file());
    let (product, path) = (about.title, path.to_owned());
    whole.map(Some).ok_or_else(|| ServerError::Program { product, path, what: "is no file".to_owned() })
}

/// Another program of the same installation as a main program that was named: in its folder, or in the one where installations
/// have such, also of what it is a link to.
///
/// # Errors
/// [`ServerError::Program`] where there is none.
pub(super) fn beside(about: &About, program: &Path, name: &str) -> Result<PathBuf, ServerError> {
    let real = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let folders = [program, &real].map(|program| program.parent().unwrap_or(Path::new("/")));
    let inside = |folder: &Path| ["", "../bin", "../scripts"].map(|place| folder.join(place).join(name));
    let mut places = folders.into_iter().flat_map(inside);
    places.find(|place| place.is_file()).ok_or_else(|| ServerError::Program {
        product: about.title,
        path: program.to_owned(),
        what: format!("has no {name} beside it, which prepares its data folder"),
    })
}

/// What a program prints when it is asked for its version.
pub(super) fn says_of_itself(program: &Path, product: &'static str) -> Result<String, ServerError> {
    let failed = |source| ServerError::Spawn { product, program: program.to_owned(), source };
    let output = Command::new(program).arg("--version").output().map_err(failed)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

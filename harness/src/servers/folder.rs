//! The temporary folder of one private server, which also says who owns it, so that a later lockbench can remove
//! what a killed one left.
//!
//! ```text
//! lockbench-redis-a1B2c3/    of the user who runs lockbench
//!   owner                    process id and start time of that lockbench
//!   log                      what the server printed
//!   data/                    of the user who runs the server
//! ```

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, User, access, geteuid};
use procfs::process::Process as ProcEntry;

use super::{Durability, ServerError, ServerKind, ServerOptions, member, postgres};
use crate::child;

const PREFIX: &str = "lockbench-";
const OWNER: &str = "owner";

/// A tmpfs with less is no place for a run's data.
const TMPFS_FREE_BYTES: u64 = 1 << 30;

/// A folder without an owner file may be in the making; after this long it is not.
const MAKING: Duration = Duration::from_secs(60);

/// Removed when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder and its `data`, which the user may enter.
    pub(super) fn create(
        kind: ServerKind,
        options: &ServerOptions,
        user: Option<&User>,
    ) -> Result<Self, ServerError> {
        let root = options.data_root.clone().unwrap_or_else(|| default_root(options.durability));
        let failed = |source| ServerError::Folder {
            kind,
            action: "make a data folder in",
            path: root.clone(),
            source,
        };
        // Servers report the folder with its links resolved, and it is compared with theirs.
        let root = root.canonicalize().map_err(failed)?;
        sweep_once(&root);
        Self::create_in(&root, kind, user).map_err(failed)
    }

    fn create_in(root: &Path, kind: ServerKind, user: Option<&User>) -> io::Result<Self> {
        let made = tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", kind.name())).tempdir_in(root)?;
        let folder = Self { path: made.keep() };
        let owner = ProcEntry::myself().and_then(|me| me.stat()).map_err(io::Error::other)?;
        fs::write(folder.path.join(OWNER), format!("{} {}\n", owner.pid, owner.starttime))?;
        fs::create_dir(folder.data())?;
        fs::set_permissions(folder.data(), Permissions::from_mode(0o700))?;
        if let Some(user) = user {
            fs::set_permissions(&folder.path, Permissions::from_mode(0o711))?;
            chown(folder.data(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Whether these words, in lower case, are anywhere in the server's log.
    pub(super) fn log_says(&self, words: &str) -> bool {
        self.log_text().to_lowercase().contains(words)
    }

    /// The last lines of the server's log; a stack trace of Java fits.
    pub(super) fn log_end(&self) -> String {
        let log = self.log_text();
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n");
        if end.is_empty() { "(empty)".to_owned() } else { end }
    }

    fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log()).unwrap_or_default()).into_owned()
    }

    /// What the data is on: `tmpfs` or `disk`.
    pub(super) fn medium(&self) -> &'static str {
        if is_tmpfs(&self.path) { "tmpfs" } else { "disk" }
    }

    /// Removes it with everything that its server left; the server itself must be gone.
    pub(super) fn remove(&self) -> io::Result<()> {
        postgres::remove_segment(&self.data());
        // A process that was killed a moment ago may still finish the system call in which it makes a file.
        let mut result = Ok(());
        for _ in 0..20 {
            result = match fs::remove_dir_all(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            };
            if result.is_ok() {
                break;
            }
            child::nap();
        }
        result
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(folder = %self.path.display(), %error, "a server's folder could not be removed");
        }
    }
}

/// Removes the folders of lockbenches that are gone, from the places where servers keep data by default, with the
/// shared memory segments and the processes that belong to them. Returns how many folders it removed; leaves alone
/// what belongs to another user or to a lockbench that lives.
pub fn sweep_leftovers() -> usize {
    let roots: BTreeSet<PathBuf> =
        default_roots().into_iter().filter_map(|root| root.canonicalize().ok()).collect();
    roots.iter().map(|root| sweep(root)).sum()
}

fn sweep_once(root: &Path) {
    static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if SWEPT.lock().unwrap_or_else(PoisonError::into_inner).insert(root.to_owned()) {
        sweep(root);
    }
}

fn sweep(root: &Path) -> usize {
    let Ok(entries) = fs::read_dir(root) else { return 0 };
    let mut removed = 0;
    for entry in entries.flatten() {
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if named && is_leftover(&entry.path()) {
            member::kill_those_in(&entry.path());
            drop(Folder { path: entry.path() });
            removed += usize::from(!entry.path().exists());
        }
    }
    removed
}

fn is_leftover(path: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    if !metadata.is_dir() || metadata.uid() != geteuid().as_raw() {
        return false;
    }
    let owner = fs::read_to_string(path.join(OWNER)).unwrap_or_default();
    match owner.split_once(' ').map(|(pid, started)| (pid.parse(), started.trim().parse())) {
        Some((Ok(pid), Ok(started))) => !child::lives(pid, started),
        // No other lockbench writes names of this form, but one may be about to write its owner file.
        _ => metadata.modified().is_ok_and(|made| made.elapsed().is_ok_and(|age| age > MAKING)),
    }
}

fn default_root(durability: Durability) -> PathBuf {
    let roots = default_roots();
    let fit = roots.iter().find(|root| match durability {
        Durability::Durable => !is_tmpfs(root) && is_writable(root),
        Durability::Memory => is_tmpfs(root) && is_writable(root) && free_bytes(root) >= TMPFS_FREE_BYTES,
    });
    fit.cloned().unwrap_or_else(std::env::temp_dir)
}

/// Where servers may keep data. /tmp is a tmpfs on some systems and a disk on others; one of the other two then is
/// what it is not.
fn default_roots() -> [PathBuf; 3] {
    [std::env::temp_dir(), PathBuf::from("/var/tmp"), PathBuf::from("/dev/shm")]
}

fn is_tmpfs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == TMPFS_MAGIC)
}

fn is_writable(path: &Path) -> bool {
    access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

fn free_bytes(path: &Path) -> u64 {
    let bytes = |stat: nix::sys::statfs::Statfs| {
        stat.blocks_available().saturating_mul(u64::try_from(stat.block_size()).unwrap_or(0))
    };
    statfs(path).map(bytes).unwrap_or(0)
}

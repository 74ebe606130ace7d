//! The temporary folder of one member of a private server, which also says who owns it, so that a later lockbench can
//! remove what a killed one left.
//!
//! ```text
//! lockbench-redis-a1B2c3/    of the user who runs lockbench
//!   owner                    locked for as long as that lockbench lives; its process id, for people
//!   …                        what only the server may read, such as its password
//!   log                      what the server printed, which may quote what it was asked
//!   data/                    of the user who runs the server
//! ```
//!
//! No other user can read any of it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, User, access};

use super::about::About;
use super::error::ServerError;
use super::options::{Durability, ServerOptions};
use crate::child;

/// With what the name of every such folder begins; the product's name and a dash follow.
pub(super) const PREFIX: &str = "lockbench-";

/// The file that says who owns it.
pub(super) const OWNER: &str = "owner";

/// A tmpfs with less is no place for a run's data.
const TMPFS_FREE_BYTES: u64 = 1 << 30;

/// Removed when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The owner file, locked. The kernel lets go of the lock when this process ends, however it ends, and unlike a process id
    /// it means the same in every container that sees the folder.
    _owner: Option<File>,
    clean_up: CleanUp,
}

/// Removes what a product leaves outside of its folder.
type CleanUp = fn(&Path);

/// The folders of this process that are there.
static OWN: Mutex<BTreeMap<PathBuf, CleanUp>> = Mutex::new(BTreeMap::new());

/// The folders of this process, without the care of those who have them.
pub(super) fn own() -> Vec<Folder> {
    let own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    own.iter().map(|(path, clean_up)| Folder::of_nobody(path.clone(), *clean_up)).collect()
}

impl Folder {
    /// Makes the folder and its `data`, which the user may enter.
    pub(super) fn create(
        about: &About,
        options: &ServerOptions,
        user: Option<&User>,
    ) -> Result<Self, ServerError> {
        let root = root(about, options)?;
        Self::create_in(&root, about, user).map_err(|source| cannot_make(about, root, source))
    }

    fn create_in(root: &Path, about: &About, user: Option<&User>) -> io::Result<Self> {
        let made = tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", about.name)).tempdir_in(root)?;
        let mut folder = Self::of_nobody(made.keep(), about.clean_up);
        // Under its name only once it is locked: without a lock the folder is a leftover.
        let making = folder.path.join("owner-in-the-making");
        let mut owner = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&making)?;
        owner.lock()?;
        writeln!(owner, "{}", std::process::id())?;
        fs::rename(making, folder.path.join(OWNER))?;
        folder._owner = Some(owner);
        OWN.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.path.clone(), about.clean_up);
        fs::create_dir(folder.data())?;
        fs::set_permissions(folder.data(), Permissions::from_mode(0o700))?;
        if let Some(user) = user {
            fs::set_permissions(&folder.path, Permissions::from_mode(0o711))?;
            chown(folder.data(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        Ok(folder)
    }

    /// One that is there and whose lockbench is gone.
    pub(super) fn of_nobody(path: PathBuf, clean_up: CleanUp) -> Self {
        Self { path, _owner: None, clean_up }
    }

    /// One whose lockbench is gone, with the lock that it left.
    pub(super) fn taken_over(path: PathBuf, owner: File, clean_up: CleanUp) -> Self {
        Self { path, _owner: Some(owner), clean_up }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Writes a file that its user alone can read; who runs lockbench as root can too.
    pub(super) fn confide(&self, name: &str, text: &str, user: Option<&User>) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        if let Some(user) = user {
            chown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        Ok(path)
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
        (self.clean_up)(&self.data());
        // A process that was killed a moment ago may still finish the system call in which it makes a file.
        let mut result = Ok(());
        for _ in 0..20 {
            result = match fs::remove_dir_all(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            };
            if result.is_ok() {
                OWN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
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

/// Where a server's folders are made, with links resolved: servers report it so, and it is compared with theirs.
pub(super) fn root(about: &About, options: &ServerOptions) -> Result<PathBuf, ServerError> {
    let root = options.data_root.clone().unwrap_or_else(|| default_root(options.durability));
    root.canonicalize().map_err(|source| cannot_make(about, root, source))
}

fn cannot_make(about: &About, root: PathBuf, source: io::Error) -> ServerError {
    ServerError::Folder { product: about.title, action: "make a data folder in", path: root, source }
}

/// Where the folders of private servers are made unless they are told another place.
#[must_use]
pub fn default_root(durability: Durability) -> PathBuf {
    let roots = default_roots();
    let fit = roots.iter().find(|root| match durability {
        Durability::Durable => !is_tmpfs(root) && is_writable(root),
        Durability::Memory => {
            is_tmpfs(root) && is_writable(root) && free_bytes(root) >= Some(TMPFS_FREE_BYTES)
        }
    });
    fit.cloned().unwrap_or_else(std::env::temp_dir)
}

/// Where servers may keep data. /tmp is a tmpfs on some systems and a disk on others; one of the other two then is
/// what it is not.
pub(super) fn default_roots() -> [PathBuf; 3] {
    [std::env::temp_dir(), PathBuf::from("/var/tmp"), PathBuf::from("/dev/shm")]
}

fn is_tmpfs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == TMPFS_MAGIC)
}

fn is_writable(path: &Path) -> bool {
    access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// What may still be written below a folder; `None` where nobody can tell.
#[must_use]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let stat = statfs(folder).ok()?;
    Some(stat.blocks_available().saturating_mul(u64::try_from(stat.block_size()).ok()?))
}

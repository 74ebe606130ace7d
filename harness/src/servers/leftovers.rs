//! What killed lockbenches left behind: found, and removed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::unistd::geteuid;
use procfs::process::{Stat, all_processes};

use super::folder::{Folder, OWNER, PREFIX, default_roots, own};
use super::products::ALL;
use crate::child::{await_end, kill_all};

/// A folder without an owner file may be in the making; after this long it is not.
const MAKING: Duration = Duration::from_secs(60);

/// Removes the folders of lockbenches that are gone, from the places where servers keep data by default, with the
/// shared memory segments and the processes that belong to them. Returns how many folders it removed; leaves alone
/// what belongs to another user or to a lockbench that lives.
pub fn sweep_leftovers() -> usize {
    let roots: BTreeSet<PathBuf> =
        default_roots().into_iter().filter_map(|root| root.canonicalize().ok()).collect();
    roots.iter().map(|root| sweep(root)).sum()
}

/// Kills the servers of this process and removes their folders, without asking those who have them: for an end at once.
/// Blocks for some milliseconds.
pub fn abandon() {
    for folder in own() {
        kill_those_in(folder.path());
    }
}

/// The first start in a folder also removes what is left there.
pub(super) fn sweep_once(root: &Path) {
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
        if named && let Some(folder) = leftover(&entry.path(), clean_up(&entry.file_name())) {
            kill_those_in(folder.path());
            drop(folder);
            removed += usize::from(!entry.path().exists());
        }
    }
    removed
}

/// The folder, if its lockbench is gone. Nobody else takes it for one as long as the answer is kept.
fn leftover(path: &Path, clean_up: fn(&Path)) -> Option<Folder> {
    let metadata = fs::symlink_metadata(path).ok()?;
    if !metadata.is_dir() || metadata.uid() != geteuid().as_raw() {
        return None;
    }
    match File::open(path.join(OWNER)) {
        Ok(owner) => owner.try_lock().ok().map(|()| Folder::taken_over(path.to_owned(), owner, clean_up)),
        // No other lockbench writes names of this form, but one may be about to make its owner file.
        Err(_) => {
            let old = metadata.modified().is_ok_and(|made| made.elapsed().is_ok_and(|age| age > MAKING));
            old.then(|| Folder::of_nobody(path.to_owned(), clean_up))
        }
    }
}

/// What the product after which a folder is named leaves outside of it.
fn clean_up(folder: &OsStr) -> fn(&Path) {
    let name = folder.to_str().and_then(|name| name.strip_prefix(PREFIX)?.rsplit_once('-'));
    let product = name.and_then(|(name, _)| ALL.iter().find(|product| product.about().name == name));
    product.map_or(|_| {}, |product| product.about().clean_up)
}

/// Kills the servers whose working folder is in here. Only for folders whose owner is gone; a person's shell that
/// stands in the folder is spared.
fn kill_those_in(folder: &Path) {
    let inside = |process: &procfs::process::Process| process.cwd().is_ok_and(|cwd| cwd.starts_with(folder));
    let processes: Vec<Stat> = all_processes()
        .into_iter()
        .flatten()
        .flatten()
        .filter(inside)
        .filter_map(|process| process.stat().ok())
        .filter(|stat| ALL.iter().any(|product| product.about().processes.contains(&stat.comm.as_str())))
        .collect();
    kill_all(&processes);
    await_end(&processes);
}

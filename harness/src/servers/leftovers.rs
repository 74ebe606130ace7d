//! What killed lockbenches left behind: found, and removed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::unistd::geteuid;
use procfs::process::{Stat, all_processes};

use super::folder::{Folder, OWNER, PREFIX, default_roots};
use super::products::ALL;
use crate::child::{await_end, kill_all, lives};

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
        if named && is_leftover(&entry.path()) {
            kill_those_in(&entry.path());
            drop(Folder::of_nobody(entry.path(), clean_up(&entry.file_name())));
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
        Some((Ok(pid), Ok(started))) => !lives(pid, started),
        // No other lockbench writes names of this form, but one may be about to write its owner file.
        _ => metadata.modified().is_ok_and(|made| made.elapsed().is_ok_and(|age| age > MAKING)),
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

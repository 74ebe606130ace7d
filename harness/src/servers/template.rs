//! A data folder that takes long to make, made once and copied from then on.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::unistd::User;
use tokio::sync::OnceCell;

use super::about::About;
use super::error::ServerError;
use super::folder::Folder;
use super::options::{Durability, ServerOptions};
use super::product::Seat;

/// The content of a new data folder, kept in memory: a copy takes a tenth of the time, and no folder has to be looked
/// after for as long as the process lives.
#[derive(Debug, Clone)]
pub(super) struct Template {
    /// Folders before what is in them; a file with its content, compressed.
    entries: Arc<[(PathBuf, Option<Vec<u8>>)]>,
}

/// Templates of a product, each made once in a process, by the program that will serve its copies.
#[derive(Debug)]
pub(super) struct Templates(Mutex<BTreeMap<PathBuf, Arc<OnceCell<Template>>>>);

impl Templates {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// That of a program, or where it is to be put.
    pub(super) fn of(&self, program: &Path) -> Arc<OnceCell<Template>> {
        let mut templates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(templates.entry(program.to_owned()).or_default())
    }
}

impl Template {
    /// Where one can be made. It is thrown away, so it need not be flushed.
    pub(super) fn folder(about: &About, user: Option<&User>) -> Result<Folder, ServerError> {
        let options = ServerOptions { durability: Durability::Memory, ..ServerOptions::default() };
        Folder::create(about, &options, user)
    }

    /// What is in the data folder of this one now.
    pub(super) async fn of(about: &About, folder: Folder) -> Result<Self, ServerError> {
        let data = folder.data();
        let packed = tokio::task::spawn_blocking(move || {
            let mut entries = Vec::new();
            pack(&folder.data(), Path::new(""), &mut entries).map(|()| entries)
        });
        let packed = packed.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        Ok(Self { entries: packed.map_err(|source| cannot_fill(about, data, source))?.into() })
    }

    /// Fills a member's data folder, which is empty.
    pub(super) async fn copy_to(&self, about: &About, seat: &Seat) -> Result<(), ServerError> {
        let (data, to, owner, template) =
            (seat.folder.data(), seat.folder.data(), seat.user.clone(), self.clone());
        let unpacked = tokio::task::spawn_blocking(move || template.unpack(&to, owner.as_ref())).await;
        let unpacked = unpacked.unwrap_or_else(|error| Err(io::Error::other(error)));
        unpacked.map_err(|source| cannot_fill(about, data, source))
    }

    fn unpack(&self, data: &Path, owner: Option<&User>) -> io::Result<()> {
        for (path, content) in &*self.entries {
            let path = data.join(path);
            let mode = match content {
                Some(content) => {
                    fs::write(&path, zstd::decode_all(content.as_slice())?)?;
                    0o600
                }
                None => {
                    fs::create_dir(&path)?;
                    0o700
                }
            };
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
            if let Some(user) = owner {
                chown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            }
        }
        Ok(())
    }
}

fn pack(root: &Path, inside: &Path, entries: &mut Vec<(PathBuf, Option<Vec<u8>>)>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(inside))? {
        let entry = entry?;
        let path = inside.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            entries.push((path.clone(), None));
            pack(root, &path, entries)?;
        } else {
            let content = zstd::encode_all(File::open(entry.path())?, 1)?;
            entries.push((path, Some(content)));
        }
    }
    Ok(())
}

fn cannot_fill(about: &About, path: PathBuf, source: io::Error) -> ServerError {
    ServerError::Folder { product: about.title, action: "fill", path, source }
}

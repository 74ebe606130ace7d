//! A clock of a private server's own, by `libfaketime`: a library that stands between a program and the C library, and reads from a file
//! how far the time of day is from the machine's. Time that only goes forwards is left alone. Programs that ask the kernel by themselves,
//! as those in Go do, do not see it: whoever sets it looks whether the server does.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::User;

use super::about::About;
use super::error::ServerError;
use super::folder::Folder;

/// Where distributions have the library, for programs with threads.
const LIBRARY: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// The C library's own allocator, by the name under which it comes with it. That of Redis asks for the time before the library above is
/// there to tell it, and waits for ever.
const ALLOCATOR: &str = "libc_malloc_debug.so.0";

/// How far the server's time of day is from the machine's.
#[derive(Debug)]
pub(super) struct OwnClock {
    library: &'static str,
    file: PathBuf,
}

impl OwnClock {
    /// One that shows what the machine's does.
    ///
    /// # Errors
    /// When the library is not there, or its file cannot be written.
    pub(super) fn new(about: &About, folder: &Folder, user: Option<&User>) -> Result<Self, ServerError> {
        let product = about.title;
        let what = || "the library libfaketime, for a clock of its own".to_owned();
        let library = LIBRARY.iter().copied().find(|path| Path::new(path).exists());
        let library =
            library.ok_or_else(|| ServerError::Missing { product, what: what(), package: "libfaketime" })?;
        let file = folder.confide("clock", "+0", user);
        let file = file.map_err(|source| {
            let path = folder.path().join("clock");
            ServerError::Folder { product, action: "write", path, source }
        })?;
        Ok(Self { library, file })
    }

    /// The program that starts another one with this clock, and its arguments. Whoever ties that to our life, or becomes its user, is
    /// to go by the machine's: what the library makes in shared memory has to be the server's own.
    pub(super) fn starts(&self, program: &Path) -> (&'static Path, Vec<OsString>) {
        let setting = |name: &str, value: &OsStr| {
            let mut setting = OsString::from(name);
            setting.push("=");
            setting.push(value);
            setting
        };
        let library = format!("{} {ALLOCATOR}", self.library);
        let settings = [
            setting("LD_PRELOAD", library.as_ref()),
            setting("FAKETIME_TIMESTAMP_FILE", self.file.as_ref()),
            setting("FAKETIME_NO_CACHE", "1".as_ref()),
            setting("FAKETIME_DONT_FAKE_MONOTONIC", "1".as_ref()),
            program.into(),
        ];
        (Path::new("/usr/bin/env"), settings.into())
    }

    /// The process has it now. Nobody else will look for what the library has put into shared memory under its number, and it would
    /// outlive a process that is killed.
    pub(super) fn has_begun(&self, pid: u32) {
        for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
            drop(fs::remove_file(Path::new("/dev/shm").join(name)));
        }
    }

    /// Sets it so far ahead of the machine's.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn set(&self, ahead: Duration) -> Result<(), String> {
        let text = format!("+{}", ahead.as_secs_f64());
        fs::write(&self.file, text).map_err(|error| format!("{}: {error}", self.file.display()))
    }
}

//! Who takes part besides the registered contenders: those that speak over the port.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use crate::contenders::{self, Contender};
use crate::port::Client;

/// The contenders of `--with`: each a folder with a `contender.toml`, which is built, or one of our own locks over the port.
///
/// # Errors
/// When one is neither, cannot be built, or has the name of another.
pub(super) fn guests(with: &[String]) -> anyhow::Result<Vec<Contender>> {
    let mut names: Vec<&str> = contenders::all().iter().map(|contender| contender.name).collect();
    let mut guests = Vec::new();
    for guest in with {
        let contender = self::guest(guest).with_context(|| format!("--with {guest}"))?;
        ensure!(
            !names.contains(&contender.name),
            "--with {guest}: another contender is called `{}`",
            contender.name
        );
        names.push(contender.name);
        guests.push(contender);
    }
    Ok(guests)
}

/// One of them.
///
/// # Errors
/// As [`guests`].
pub(super) fn guest(guest: &str) -> anyhow::Result<Contender> {
    if !Path::new(guest).is_dir()
        && let Ok(variant) = lock_backends::variant(guest)
    {
        let over = Contender::over_the_port(variant);
        return over.with_context(|| {
            format!("{guest} lives in the memory of one process, and every node has a program of its own")
        });
    }
    if !Path::new(guest).is_dir() {
        bail!("is neither a folder with a contender.toml nor one of our own locks: see `lockbench list`");
    }
    let client = Client::load(Path::new(guest))?;
    client.build()?;
    Ok(Contender::client(client))
}

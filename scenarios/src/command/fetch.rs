//! `lockbench fetch`: takes a batch from a driver on another machine, which keeps it until then.
//!
//! One connection: the folder as a tar archive and a byte behind it, then the same byte from the other side, which says that all of it is
//! there.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::print::print;
use super::verb::{Example, Group, Work};
use crate::batch::Show as _;
use crate::progress::Display;

/// How long the other side may say nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// Bytes behind the last file of an archive that are read at most.
const MOST_BEHIND: u64 = 1 << 20;

/// How often it is looked whether nobody waits any more.
const LOOK: Duration = Duration::from_millis(100);

/// What says that all was sent, and that all is there.
const ALL: u8 = b'+';

/// Take a batch from a driver on another machine that keeps it (`--keep`).
#[derive(Debug, Args)]
pub(super) struct Fetch {
    /// Where it is reached, as through `kubectl port-forward`.
    #[arg(value_name = "HOST:PORT")]
    from: String,
    /// Where the batch's folder is made.
    #[arg(long, default_value = "out", value_name = "DIR")]
    out: PathBuf,
}

impl Work for Fetch {
    const NAME: &str = "fetch";
    const GROUP: Group = Group::Place;
    const EXAMPLES: &[Example] = &[(
        "From a pod, through `kubectl port-forward job/lockbench-driver 7401`",
        "lockbench fetch 127.0.0.1:7401",
    )];

    async fn work(self) -> anyhow::Result<u8> {
        let Self { from, out } = self;
        let folder = tokio::task::spawn_blocking(move || fetch(&from, &out)).await??;
        print(&folder.display().to_string());
        Ok(0)
    }
}

/// Takes the batch; the folder that it is in.
fn fetch(from: &str, out: &Path) -> anyhow::Result<PathBuf> {
    let mut stream =
        TcpStream::connect(from).with_context(|| format!("no driver keeps a batch at {from}"))?;
    stream.set_read_timeout(Some(SILENCE))?;
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    // Half of a batch must not look like one.
    let half = tempfile::tempdir_in(out)?;
    let mut archive = tar::Archive::new(&stream);
    let unpacked = archive.unpack(half.path());
    // An archive may seem to end where it was cut.
    let mut rest = Vec::new();
    let ended = unpacked.and_then(|()| (&stream).take(MOST_BEHIND).read_to_end(&mut rest));
    ended.with_context(|| format!("{from} did not send a batch to its end"))?;
    ensure!(rest.last() == Some(&ALL), "{from} did not send a batch to its end");
    let folder = std::fs::read_dir(half.path())?.next().transpose()?;
    let folder = folder.with_context(|| format!("{from} sent nothing"))?;
    let whole = out.join(folder.file_name());
    ensure!(!whole.exists(), "{} is there already: name another place with --out", whole.display());
    std::fs::rename(folder.path(), &whole).with_context(|| whole.display().to_string())?;
    stream.write_all(&[ALL])?;
    Ok(whole)
}

/// Where a batch is kept until somebody has taken it.
pub(super) struct Keeper(TcpListener);

impl Keeper {
    /// At this address.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(super) fn at(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| format!("--keep {address}"))?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Keeps it there, or until nobody waits any more.
    ///
    /// # Errors
    /// When nobody can come any more.
    pub(super) async fn keep(
        self,
        folder: &Path,
        stop: &CancellationToken,
        display: &Display,
    ) -> anyhow::Result<()> {
        let at = self.0.local_addr()?;
        display.line(&format!("{} is kept at {at} until `lockbench fetch` has taken it", folder.display()));
        loop {
            let accepted = match self.0.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(LOOK) => continue,
                    }
                }
                Err(error) => return Err(error.into()),
            };
            let whole = folder.to_owned();
            match tokio::task::spawn_blocking(move || give(accepted, &whole)).await? {
                Ok(()) => return Ok(()),
                Err(error) => display.line(&format!("it was not taken to its end: {error:#}")),
            }
        }
    }
}

/// Sends a batch, and waits until the other side has it.
fn give(mut stream: TcpStream, folder: &Path) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let name = folder.file_name().context("a batch has a name")?;
    let mut archive = tar::Builder::new(&stream);
    archive.append_dir_all(name, folder)?;
    archive.finish()?;
    drop(archive);
    stream.write_all(&[ALL])?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    ensure!(answer == [ALL], "the other side did not say that it has it");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch at an address, and what becomes of it.
    fn kept(folder: &Path) -> (SocketAddr, std::thread::JoinHandle<anyhow::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, folder) = (listener.local_addr().unwrap(), folder.to_owned());
        (at, std::thread::spawn(move || give(listener.accept().unwrap().0, &folder)))
    }

    #[test]
    fn a_batch_arrives_whole_and_is_let_go_then() {
        let folder = tempfile::tempdir().unwrap();
        let batch = folder.path().join("smoke-1");
        std::fs::create_dir_all(batch.join("1-none")).unwrap();
        std::fs::write(batch.join("1-none/record.json"), "{}").unwrap();
        let out = folder.path().join("out");
        let (at, given) = kept(&batch);
        let whole = fetch(&at.to_string(), &out).unwrap();
        assert_eq!(whole, out.join("smoke-1"));
        assert_eq!(std::fs::read_to_string(whole.join("1-none/record.json")).unwrap(), "{}");
        given.join().unwrap().unwrap();
        // What is there is not written over, and the driver goes on keeping it.
        let (at, given) = kept(&batch);
        let again = fetch(&at.to_string(), &out).unwrap_err().to_string();
        assert!(again.contains("is there already"), "{again}");
        assert!(given.join().unwrap().is_err());
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1, "no half of it is left");
    }

    #[test]
    fn half_of_a_batch_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut header = tar::Header::new_gnu();
            header.set_path("smoke-1/record.json").unwrap();
            header.set_size(1_000);
            header.set_cksum();
            stream.write_all(header.as_bytes()).unwrap();
            stream.write_all(b"{").unwrap();
        });
        let half = fetch(&at.to_string(), folder.path()).unwrap_err();
        assert!(format!("{half:#}").contains("did not send a batch to its end"), "{half:#}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

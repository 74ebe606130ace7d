//! The contract of a server product: all that is particular to it, and nothing that is the same for every server.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use nix::unistd::User;

use super::about::About;
use super::error::ServerError;
use super::folder::Folder;
use super::options::{Durability, ServerOptions};
use super::own_clock::OwnClock;
use super::tls::Tls;
use super::wire::AskError;
use crate::processors::Processors;
use crate::secret::Secret;

/// From the spawn to the first answer. A JVM on a busy machine takes seconds.
pub(super) const READY: Duration = Duration::from_secs(30);

/// A server product: where its programs are, how a member is started, and what to ask it.
///
/// Ports, folders, processes, the wait for the first answer, faults and the end are the same for all and none of its
/// business. To add a product: a file in `products/` with this and its line in `products::ALL`.
pub(super) trait Product: fmt::Debug + Send + Sync {
    /// What is known of it without looking.
    fn about(&self) -> &'static About;

    /// Looks for its programs, without starting a server: the main one, which may be named, and the version that it or a file name
    /// tells.
    ///
    /// # Errors
    /// [`ServerError::Missing`], with what and which package; [`ServerError::Program`] of one that is named.
    fn find(&self, program: Option<&Path>) -> Result<(PathBuf, String), ServerError>;

    /// How the member at this place is started among the others, all of whose seats are known. May fill its data folder.
    /// Called once for each member; the answer is kept for restarts, which find the folder as the server left it.
    ///
    /// Dropped early, it leaves nothing but the folder.
    ///
    /// # Errors
    /// When a program is missing or the folder cannot be filled.
    fn start<'a>(
        &'a self,
        seats: &'a [Seat],
        place: usize,
        options: &'a ServerOptions,
    ) -> BoxFuture<'a, Result<Start, ServerError>>;

    /// The URL by which clients reach a private member at an address, its own or that of a link before it, with what lets
    /// them in; files of certificates are added to it.
    fn endpoint(&self, address: SocketAddr, seat: &Seat) -> String;

    /// Asks the server at a URL for its version and settings, within [`PATIENCE`](super::wire::PATIENCE) a question. Where it
    /// takes a list, every server of it has to answer, and the first one's answer counts. It answers only when it serves.
    ///
    /// # Errors
    /// [`AskError::Silent`] as long as it does not serve: it is asked again. Others are final.
    fn ask<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Answer, AskError>>;

    /// As [`Product::ask`], of a member of ours, whatever it is among the others.
    ///
    /// # Errors
    /// As [`Product::ask`].
    fn ask_member<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Answer, AskError>> {
        self.ask(url)
    }

    /// Makes the member at this URL a copy of the one at that address; of nobody's, with what it has, where there is none; or cuts
    /// it off from whom it copies, where that is nobody who answers.
    ///
    /// # Errors
    /// When it does not answer, or the product has no copies here.
    fn copy<'a>(&'a self, _url: &'a str, _of: Option<SocketAddr>) -> BoxFuture<'a, Result<(), AskError>> {
        Box::pin(async { Err(AskError::Silent("it has no copies here".to_owned())) })
    }

    /// What the clock of the member at this URL shows, in µs since 1970.
    ///
    /// # Errors
    /// When it does not answer, or nothing that it can be asked here tells it.
    fn time_us<'a>(&'a self, _url: &'a str) -> BoxFuture<'a, Result<i64, AskError>> {
        Box::pin(async { Err(AskError::Silent("it does not tell the time here".to_owned())) })
    }

    /// The term in which the member at this URL leads; `None` where it follows. Of a product that is not replicated, the only
    /// one there is leads.
    ///
    /// # Errors
    /// When it does not answer.
    fn leads<'a>(&'a self, _url: &'a str) -> BoxFuture<'a, Result<Option<u64>, AskError>> {
        Box::pin(async { Ok(Some(0)) })
    }

    /// The settings that decide what an acknowledged write survives, as a server of this durability says them. Each start
    /// compares: one that says otherwise is refused.
    fn effective(&self, durability: Durability) -> &'static [(&'static str, &'static str)];
}

/// What of a member is fixed before any of them starts: the others are told.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) folder: Folder,
    pub(super) ports: Ports,
    /// Lets clients in, and the members in at each other; the same at all members of a server, and at no other server. It
    /// reaches programs in files that only their user can read, never in arguments.
    pub(super) secret: Secret,
    /// Whom it runs as, if not as ourselves.
    pub(super) user: Option<User>,
    /// Those that it may use, if not all.
    pub(super) processors: Option<Processors>,
    /// What it speaks TLS with.
    pub(super) tls: Option<Tls>,
    /// What it tells the time of day by, if not by the machine's clock.
    pub(super) clock: Option<OwnClock>,
}

impl Seat {
    /// Writes a file of the member's that only its server can read, and ourselves.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn confide(&self, about: &About, name: &str, text: &str) -> Result<PathBuf, ServerError> {
        let (product, path) = (about.title, self.folder.path().join(name));
        let confided = self.folder.confide(name, text, self.user.as_ref());
        confided.map_err(|source| ServerError::Folder { product, action: "write", path, source })
    }

    /// Copies of the authority's certificate, the server's and its key, which only its server can read; nothing where it speaks
    /// no TLS.
    ///
    /// # Errors
    /// When one cannot be read or written.
    pub(super) fn certificates(&self, about: &About) -> Result<Option<[PathBuf; 3]>, ServerError> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let mut copies = [const { PathBuf::new() }; 3];
        for (copy, (name, path)) in copies.iter_mut().zip(tls.of_server()) {
            let (product, action) = (about.title, "read");
            let failed = |source| ServerError::Folder { product, action, path: path.to_owned(), source };
            *copy = self.confide(about, name, &fs::read_to_string(path).map_err(failed)?)?;
        }
        Ok(Some(copies))
    }

    /// Whether clients need a certificate.
    pub(super) fn asks_for_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client.is_some())
    }
}

/// A client's port, and two for what members have to say to each other.
pub(super) type Ports = [u16; 3];

/// How one member of a server is run.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    /// Settings that it cannot be asked for.
    pub(super) flags: BTreeMap<String, String>,
    /// What its [`Answer::identity`] must be, if it has one.
    pub(super) identity: String,
}

/// What a server says about itself.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) version: String,
    pub(super) settings: BTreeMap<String, String>,
    /// Something that only our own child can know, such as its data folder: another program may have been
    /// quicker to take the port.
    pub(super) identity: Option<String>,
}

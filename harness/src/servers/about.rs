//! The facts that set one product apart from another, where nothing has to be done to know them.

use std::path::Path;

use nix::sys::signal::Signal;

use super::options::Topology;

/// What a product is called, who may run it, and what it can be. One constant in its file.
#[derive(Debug)]
pub(super) struct About {
    /// The word of command lines and records, such as `redis`. Folders and options are named after it.
    pub(super) name: &'static str,
    /// The name as it is written in prose.
    pub(super) title: &'static str,
    /// The Debian and Ubuntu packages that hold it, separated by spaces.
    pub(super) packages: &'static str,
    /// The form of the URL of one that already runs.
    pub(super) url: &'static str,
    /// What it can be started as, alone first.
    pub(super) topologies: &'static [Topology],
    /// For how long it is slower than it will be: a virtual machine compiles what it runs often.
    pub(super) warms_s: f64,
    /// The accounts that it may run as when we are root, best first. Where there are none it runs as we do.
    pub(super) accounts: &'static [&'static str],
    /// The names of its processes, as `/proc` has them: of these alone a later lockbench kills what is left.
    pub(super) processes: &'static [&'static str],
    /// Asks it to shut down, without waiting for clients to leave.
    pub(super) stop: Signal,
    /// Removes what it leaves outside its data folder when it is killed; the server is gone by then.
    pub(super) clean_up: fn(data: &Path),
    /// The schemes of its URL with which TLS is spoken; none where a parameter says so.
    pub(super) secured: &'static [&'static str],
    /// The parameter of its URL that has a client check the server's certificate, where no scheme says so.
    pub(super) checked: Option<&'static str>,
}

//! What a batch ran on: numbers mean little without it.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

use procfs::Current as _;

use super::clock::monotonic_ns;
use crate::model::Histogram;
use crate::record::Machine;

/// What this machine is called, for people.
#[must_use]
pub fn name() -> String {
    nix::sys::utsname::uname().map(|name| name.nodename().to_string_lossy().into_owned()).unwrap_or_default()
}

/// Looks at the machine, and measures the disk below `data` and the loopback device for a few hundred rounds each.
/// Blocks for some tens of milliseconds. What cannot be found out stays empty.
#[must_use]
pub fn survey(data: &Path) -> Machine {
    let cpu = procfs::CpuInfo::current().ok();
    let fsync = fsync(data).ok();
    let quantile = |q| fsync.as_ref().and_then(|fsync: &Histogram| fsync.quantile_ns(q));
    Machine {
        cpu: cpu.and_then(|cpu| cpu.model_name(0).map(str::to_owned)).unwrap_or_default(),
        cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u32),
        memory_bytes: procfs::Meminfo::current().map_or(0, |memory| memory.mem_total),
        kernel: nix::sys::utsname::uname()
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default(),
        os: os_name().unwrap_or_default(),
        filesystem: filesystem(data).unwrap_or_default(),
        fsync_p50_ns: quantile(0.5),
        fsync_p99_ns: quantile(0.99),
        loopback_rtt_p50_ns: loopback().ok().and_then(|rtt| rtt.quantile_ns(0.5)),
    }
}

/// Whether it is a virtual machine, whose host does other things too; where nobody can tell, no.
#[must_use]
pub fn is_virtual() -> bool {
    let cpu = procfs::CpuInfo::current().ok();
    cpu.and_then(|cpu| cpu.flags(0).map(|flags| flags.contains(&"hypervisor"))).unwrap_or(false)
}

fn os_name() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_owned())
}

/// Type of the file system that holds a folder.
fn filesystem(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = procfs::process::Process::myself().ok()?.mountinfo().ok()?;
    let holding = mounts.into_iter().filter(|mount| folder.starts_with(&mount.mount_point));
    holding.max_by_key(|mount| mount.mount_point.as_os_str().len()).map(|mount| mount.fs_type)
}

/// 200 writes of 4 KiB, each followed by fdatasync.
fn fsync(folder: &Path) -> io::Result<Histogram> {
    let folder = tempfile::Builder::new().prefix("lockbench-fsync-").tempdir_in(folder)?;
    let mut file = OpenOptions::new().create(true).append(true).open(folder.path().join("probe"))?;
    let mut histogram = Histogram::default();
    for _ in 0..200 {
        let start_ns = monotonic_ns();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        histogram.record_ns(monotonic_ns() - start_ns);
    }
    Ok(histogram)
}

/// 500 round trips of 64 bytes.
fn loopback() -> io::Result<Histogram> {
    use std::io::Read as _;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let echo = std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while far.read_exact(&mut buffer).is_ok() && far.write_all(&buffer).is_ok() {}
    });
    let mut histogram = Histogram::default();
    let mut buffer = [0; 64];
    for _ in 0..500 {
        let start_ns = monotonic_ns();
        near.write_all(&buffer)?;
        near.read_exact(&mut buffer)?;
        histogram.record_ns(monotonic_ns() - start_ns);
    }
    drop(near);
    drop(echo.join());
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survey_finds_what_linux_tells() {
        let machine = survey(&std::env::temp_dir());
        assert!(machine.cores > 0 && machine.memory_bytes > 0);
        assert!(!machine.kernel.is_empty() && !machine.filesystem.is_empty());
        assert!(machine.fsync_p50_ns <= machine.fsync_p99_ns && machine.loopback_rtt_p50_ns.is_some());
    }
}

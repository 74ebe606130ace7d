//! What a run holds at one time: connections to its server, threads of its nodes, and memory of both, looked at in `/proc` now
//! and then.

use std::future::Future;
use std::time::Duration;

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::Process;
use tokio::time::sleep;

use crate::record::Peak;

/// From one look to the next. A look costs a tenth of a millisecond, and what is held is held for long.
const EVERY: Duration = Duration::from_millis(200);

/// Looks until it is over; `processes` are those that the nodes live in, `server` those of the server, `ports` those that it listens
/// on.
pub(crate) async fn watch(
    ports: &[u16],
    processes: impl Fn() -> Vec<u32>,
    server: impl Fn() -> Vec<u32>,
    over: impl Future<Output = ()>,
) -> Peak {
    let mut peak = Peak::default();
    let look = async {
        loop {
            peak.connections = peak.connections.max(connections(ports));
            let processes = processes();
            peak.threads = peak.threads.max(threads(&processes));
            peak.node_bytes = peak.node_bytes.max(bytes(&processes));
            peak.server_bytes = peak.server_bytes.max(bytes(&server()));
            sleep(EVERY).await;
        }
    };
    tokio::select! {
        biased;
        () = over => {}
        () = look => {}
    }
    peak
}

/// Established connections to these ports, each counted at its server's end; `None` where there is no port.
fn connections(ports: &[u16]) -> Option<u64> {
    if ports.is_empty() {
        return None;
    }
    let held = |entry: &TcpNetEntry| {
        entry.state == TcpState::Established && ports.contains(&entry.local_address.port())
    };
    let both = [procfs::net::tcp(), procfs::net::tcp6()];
    Some(both.into_iter().flatten().flatten().filter(held).count() as u64)
}

/// Threads of these processes together; one that has just died has none.
fn threads(processes: &[u32]) -> Option<u64> {
    let of = |pid: &u32| Process::new(pid.cast_signed()).and_then(|process| process.stat()).ok();
    let threads: i64 = processes.iter().filter_map(of).map(|stat| stat.num_threads).sum();
    u64::try_from(threads).ok().filter(|threads| *threads > 0)
}

/// Memory that these processes have to themselves, together: what they share, such as the buffers of a database, would count
/// once for each.
fn bytes(processes: &[u32]) -> Option<u64> {
    let of = |pid: &u32| Process::new(pid.cast_signed()).and_then(|process| process.statm()).ok();
    let pages: u64 =
        processes.iter().filter_map(of).map(|held| held.resident.saturating_sub(held.shared)).sum();
    Some(pages * procfs::page_size()).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn each_connection_counts_once_and_only_to_the_server_s_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let [port, another] = [&listener, &other].map(|each| each.local_addr().unwrap().port());
        let connect = |port| TcpStream::connect(("127.0.0.1", port)).unwrap();
        let _held = [connect(port), connect(port), connect(another)];
        assert_eq!(connections(&[port]), Some(2));
        assert_eq!(connections(&[port, another]), Some(3));
        assert_eq!(connections(&[]), None);
    }

    #[tokio::test]
    async fn the_most_threads_are_kept_and_a_process_that_is_gone_has_none() {
        let me = std::process::id();
        let before = threads(&[me]).unwrap();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let peak = watch(&[], || vec![me, u32::MAX >> 1], Vec::new, async {
            let more = std::thread::spawn(move || stopped.recv().ok());
            sleep(3 * EVERY).await;
            drop(stop);
            more.join().unwrap();
            sleep(2 * EVERY).await;
        });
        let peak = peak.await;
        // Other tests have threads of their own in this process.
        assert!(peak.threads.is_some_and(|threads| threads > 1 && before > 0), "{peak:?}, {before} before");
        assert_eq!((peak.connections, peak.server_bytes), (None, None));
    }

    #[test]
    fn memory_is_what_a_process_has_to_itself() {
        let me = [std::process::id()];
        let before = bytes(&me).unwrap();
        let held = vec![1_u8; 128 << 20];
        let after = bytes(&me).unwrap();
        assert!(after >= before + (64 << 20), "{before} and {after} bytes, with {} more", held.len());
        assert_eq!(bytes(&[u32::MAX >> 1]), None);
    }
}

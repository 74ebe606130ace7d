//! The disks that a run fills: with its record and history, and with the data of its server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::servers;
use tokio::time::sleep;

/// With less free no run begins, and one that goes on is cut short: what servers do on a full disk is not what is measured, and a
/// record must still find room.
const LEAST_FREE_BYTES: u64 = 256 << 20;

/// Between two looks while a run lasts.
const LOOK: Duration = Duration::from_millis(500);

/// What to look at, and how.
#[derive(Debug)]
pub(super) struct Disks {
    folders: Vec<PathBuf>,
    free_bytes: fn(&Path) -> Option<u64>,
}

impl Disks {
    pub(super) fn below(folders: Vec<PathBuf>) -> Self {
        Self { folders, free_bytes: servers::free_bytes }
    }

    /// Which has too little room, in words.
    pub(super) fn low(&self) -> Option<String> {
        self.folders.iter().find_map(|folder| {
            let free = (self.free_bytes)(folder).filter(|free| *free < LEAST_FREE_BYTES)?;
            Some(format!(
                "the disk of {} is nearly full: {} MiB free, of which a run needs {}: make room, or put batches elsewhere with --out",
                folder.display(),
                free >> 20,
                LEAST_FREE_BYTES >> 20
            ))
        })
    }

    /// Waits until one has too little. Cancel safe.
    pub(super) async fn run_low(&self) -> String {
        loop {
            if let Some(low) = self.low() {
                return low;
            }
            sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    static FREE: AtomicU64 = AtomicU64::new(u64::MAX);

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_fills_up_is_told_with_its_folder() {
        let folders = ["/nowhere", "/full"].map(PathBuf::from).into();
        let free_bytes = |folder: &Path| (folder == Path::new("/full")).then(|| FREE.load(Ordering::Relaxed));
        let disks = Disks { folders, free_bytes };
        assert_eq!(disks.low(), None, "of the first nobody can tell");
        let filling = async {
            sleep(LOOK * 4).await;
            FREE.store(LEAST_FREE_BYTES - 1, Ordering::Relaxed);
        };
        let (low, ()) = tokio::join!(disks.run_low(), filling);
        assert!(low.contains("/full") && low.contains("255 MiB"), "{low}");
        FREE.store(LEAST_FREE_BYTES, Ordering::Relaxed);
        assert_eq!(disks.low(), None);
    }
}

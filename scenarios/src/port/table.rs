//! Who waits for which answer of a program, and what it holds.

use std::collections::HashMap;

use lock_backends::Purpose;
use tokio::sync::oneshot;

/// How a program answered an acquire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AcquireRet {
    Granted { token: Option<u64>, valid_ms: Option<u64>, slot: Option<u32> },
    TimedOut,
    Failed(String),
    Unknown(String),
}

/// How a program answered a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReleaseRet {
    Released,
    AlreadyLost,
    Unknown(String),
}

/// All that is asked of a program, or held.
#[derive(Debug, Default)]
pub(super) struct Table {
    last: u64,
    /// By number.
    open: HashMap<u64, Open>,
    counted: u64,
    /// What was asked of the program since it has last told its counts, by what for.
    asked: Asked,
    /// Whether that is more than when it was last asked for its counts.
    moved: bool,
}

/// Lines of a purpose.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// For the load.
    pub(super) work: u64,
    /// To see whether the server still answers.
    pub(super) probes: u64,
}

impl Asked {
    fn one(&mut self) {
        match Purpose::current() {
            Purpose::Probe => self.probes += 1,
            Purpose::Work | Purpose::Renewal => self.work += 1,
        }
    }

    /// So many, in the same parts.
    fn of(self, all: u64) -> Self {
        let lines = (self.work + self.probes).max(1);
        let probes = (u128::from(all) * u128::from(self.probes) / u128::from(lines)) as u64;
        Self { work: all - probes, probes }
    }
}

/// An acquire, from its line to the answer of its release.
#[derive(Debug)]
enum Open {
    Asked(oneshot::Sender<AcquireRet>),
    Granted,
    /// After unknown: a release will come.
    Doubtful,
    /// It was lost, and its release has not been asked for.
    Lost,
    Releasing(oneshot::Sender<ReleaseRet>),
}

/// What a program must not say.
pub(super) type Wrong = &'static str;

impl Table {
    /// Opens an acquire.
    pub(super) fn ask(&mut self) -> (u64, oneshot::Receiver<AcquireRet>) {
        let (answer, answered) = oneshot::channel();
        self.last += 1;
        self.moved = true;
        self.asked.one();
        self.open.insert(self.last, Open::Asked(answer));
        (self.last, answered)
    }

    /// Opens the release of one; whether it has to be said, or an answer is still to come. `None`: nothing of it is open.
    pub(super) fn release(&mut self, id: u64) -> Option<(bool, oneshot::Receiver<ReleaseRet>)> {
        let (answer, answered) = oneshot::channel();
        self.moved = true;
        self.asked.one();
        let former = std::mem::replace(self.open.get_mut(&id)?, Open::Releasing(answer));
        Some((!matches!(former, Open::Releasing(_)), answered))
    }

    /// Whether the program still says that it is held.
    pub(super) fn holds(&self, id: u64) -> bool {
        matches!(self.open.get(&id), Some(Open::Granted))
    }

    /// Whether a release of it waits for its answer.
    pub(super) fn is_releasing(&self, id: u64) -> bool {
        matches!(self.open.get(&id), Some(Open::Releasing(_)))
    }

    /// Takes the answer to an acquire.
    pub(super) fn acquired(&mut self, id: u64, ret: AcquireRet) -> Result<(), Wrong> {
        let next = match ret {
            AcquireRet::Granted { .. } => Some(Open::Granted),
            AcquireRet::Unknown(_) => Some(Open::Doubtful),
            AcquireRet::TimedOut | AcquireRet::Failed(_) => None,
        };
        match self.open.remove(&id) {
            Some(Open::Asked(answer)) => {
                self.open.extend(next.map(|next| (id, next)));
                // Whoever asked may be gone.
                drop(answer.send(ret));
                Ok(())
            }
            Some(_) => Err("it answers twice"),
            None => Err("it answers what is not asked, or answers twice"),
        }
    }

    /// Takes the answer to a release.
    pub(super) fn released(&mut self, id: u64, ret: ReleaseRet) -> Result<(), Wrong> {
        let Some(Open::Releasing(answer)) = self.open.remove(&id) else {
            return Err("it answers a release that was not asked for");
        };
        if matches!(ret, ReleaseRet::Unknown(_)) {
            // It will be asked for again.
            self.open.insert(id, Open::Doubtful);
        }
        drop(answer.send(ret));
        Ok(())
    }

    /// Takes the news that something is lost, or everything. What is not held has just been released, or was lost before.
    pub(super) fn lost(&mut self, id: Option<u64>) -> Result<(), Wrong> {
        if id.is_some_and(|id| id == 0 || id > self.last) {
            return Err("it lost what was never asked for");
        }
        for (_, open) in self.open.iter_mut().filter(|(one, _)| id.is_none_or(|id| id == **one)) {
            if matches!(open, Open::Granted) {
                *open = Open::Lost;
            }
        }
        Ok(())
    }

    /// Takes the number of all requests so far; how many are new, parted as what was asked for meanwhile: a program does not know
    /// what for.
    pub(super) fn counted(&mut self, requests: u64) -> Result<Asked, Wrong> {
        let more = requests.checked_sub(self.counted).ok_or("it has counted less than before")?;
        self.counted = requests;
        Ok(std::mem::take(&mut self.asked).of(more))
    }

    /// Whether something was asked since this was last called.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Nothing more will come: whoever waits hears of that.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANTED: AcquireRet = AcquireRet::Granted { token: None, valid_ms: None, slot: None };

    #[test]
    fn every_request_has_one_answer() {
        let mut table = Table::default();
        let (id, mut answered) = table.ask();
        assert_eq!(table.acquired(id, GRANTED), Ok(()));
        assert_eq!(answered.try_recv(), Ok(GRANTED));
        assert!(table.holds(id));
        assert_eq!(table.acquired(id, GRANTED), Err("it answers twice"));
        let (id, _answered) = table.ask();
        assert_eq!(table.acquired(id, AcquireRet::TimedOut), Ok(()));
        assert!(table.acquired(id, AcquireRet::TimedOut).unwrap_err().contains("twice"));
        assert!(table.acquired(99, GRANTED).unwrap_err().contains("not asked"));
        assert!(table.released(id, ReleaseRet::Released).is_err(), "nobody asked for it");
        assert!(table.release(id).is_none(), "nothing of it is open");
    }

    #[test]
    fn a_release_is_said_once_and_again_only_after_unknown() {
        let mut table = Table::default();
        let (id, _answered) = table.ask();
        table.acquired(id, GRANTED).unwrap();
        assert!(table.release(id).unwrap().0);
        // Whoever asked has given up, and asks again.
        let (said, mut answered) = table.release(id).unwrap();
        assert!(!said);
        table.released(id, ReleaseRet::Unknown("cut".to_owned())).unwrap();
        assert_eq!(answered.try_recv(), Ok(ReleaseRet::Unknown("cut".to_owned())));
        let (said, mut answered) = table.release(id).unwrap();
        assert!(said);
        table.released(id, ReleaseRet::AlreadyLost).unwrap();
        assert_eq!(answered.try_recv(), Ok(ReleaseRet::AlreadyLost));
    }

    #[test]
    fn a_loss_is_of_one_or_of_all_and_of_nothing_that_was_not_asked() {
        let mut table = Table::default();
        let ids = [0; 3].map(|_| {
            let (id, _answered) = table.ask();
            table.acquired(id, GRANTED).unwrap();
            id
        });
        table.lost(Some(ids[0])).unwrap();
        assert_eq!(ids.map(|id| table.holds(id)), [false, true, true]);
        table.lost(None).unwrap();
        assert_eq!(ids.map(|id| table.holds(id)), [false; 3]);
        assert!(table.lost(Some(4)).is_err() && table.lost(Some(0)).is_err());
    }

    #[tokio::test]
    async fn what_was_counted_is_parted_as_what_was_asked_for() {
        let mut table = Table::default();
        for _ in 0..3 {
            table.ask();
        }
        Purpose::Probe.scope(async { drop(table.ask()) }).await;
        assert_eq!(table.counted(8), Ok(Asked { work: 6, probes: 2 }));
        // Nothing was asked: what it sent was to keep what it holds.
        assert_eq!(table.counted(10), Ok(Asked { work: 2, probes: 0 }));
        assert!(table.counted(9).is_err());
    }
}

//! What a node has done, written into memory that outlives its process: the dead cannot tell it any more.
//!
//! ```text
//! node ── a batch every 20 ms ──▶ driver
//!   └──── each word at once ────▶ memory ── read when the node is dead ──▶ driver
//! ```
//!
//! Events travel together, and counts at the end; what a node that is killed had not sent yet would be lost, and with it
//! the grant of the very section that the kill was aimed at. One small write a word: about half a microsecond.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::process::Stdio;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::part_ret::{PartRet, Spent};
use super::spill;
use crate::model::{Event, Operations};

/// Where a node writes, and its driver reads.
#[derive(Debug)]
pub(crate) struct LastWords(File);

impl LastWords {
    /// In memory that lives as long as somebody has it open.
    pub(crate) fn blank() -> io::Result<Self> {
        let file = memfd_create("last words", MFdFlags::MFD_CLOEXEC)?;
        // Or threads that write at once write over each other: unlike a file with a name, this one has no lock on the place at
        // which the next word goes.
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
        Ok(Self(File::from(file)))
    }

    /// Those of this process, which its driver has given it as standard output.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        Ok(Self(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }

    /// For the process that is to write them.
    pub(crate) fn share(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Something has happened.
    pub(crate) fn event(&self, event: &Event) {
        self.write(0, |to| spill::encode(event, to));
    }

    /// A bystander's probe has ended, well or not, or has lasted so long at least.
    pub(crate) fn probe(&self, ns: u64, completed: bool) {
        self.write(1, |to| numbers(&[ns, u64::from(completed)], to));
    }

    /// All that was taken so far.
    pub(crate) fn spent(&self, spent: &Spent) {
        let Operations { load, bystander, renewal } = spent.operations.unwrap_or_default();
        let known = u64::from(spent.operations.is_some());
        let all = [spent.process_cpu_ns, spent.timer_cpu_ns, known, load, bystander, renewal];
        self.write(2, |to| numbers(&all, to));
    }

    fn write(&self, kind: u8, word: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = vec![kind];
        word(&mut bytes);
        // One call, so that a kill comes before or after it.
        if let Err(error) = (&self.0).write_all(&bytes) {
            tracing::warn!(%error, "last words were not written");
        }
    }

    /// All of them: the events in their order, and the rest as if the part had ended with the last word. A last word that was not
    /// finished is left out.
    ///
    /// # Errors
    /// When they cannot be read, or there is what is no word.
    pub(crate) fn read(&self) -> io::Result<(Vec<Event>, PartRet)> {
        let mut written = Vec::new();
        let length = self.0.metadata()?.len();
        written.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        self.0.read_exact_at(&mut written, 0)?;
        let (mut events, mut ret, mut rest) = (Vec::new(), PartRet::default(), &written[..]);
        while !rest.is_empty() {
            match word(&mut rest, &mut events, &mut ret) {
                Ok(()) => {}
                Err(unfinished) if unfinished.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(none) => return Err(none),
            }
        }
        Ok((events, ret))
    }
}

impl From<LastWords> for Stdio {
    fn from(words: LastWords) -> Self {
        words.0.into()
    }
}

/// Takes in the first word of what is left.
fn word(rest: &mut &[u8], events: &mut Vec<Event>, ret: &mut PartRet) -> io::Result<()> {
    let number = |rest: &mut &[u8]| {
        let mut bytes = [0; 8];
        rest.read_exact(&mut bytes)?;
        io::Result::Ok(u64::from_le_bytes(bytes))
    };
    let mut kind = [0];
    rest.read_exact(&mut kind)?;
    match kind {
        [0] => {
            let mut length = [0; spill::LENGTH];
            rest.read_exact(&mut length)?;
            let length = u32::from_le_bytes(length) as usize;
            let (event, behind) = rest.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
            events.push(spill::decode(event)?);
            *rest = behind;
        }
        [1] => match (number(rest)?, number(rest)?) {
            (ns, 0) => {
                ret.bystander.censor_ns(ns);
                ret.bystander_failed += 1;
            }
            (ns, _) => ret.bystander.record_ns(ns),
        },
        [2] => {
            let (process_cpu_ns, timer_cpu_ns, known) = (number(rest)?, number(rest)?, number(rest)? > 0);
            let operations =
                Operations { load: number(rest)?, bystander: number(rest)?, renewal: number(rest)? };
            ret.spent = Spent { process_cpu_ns, timer_cpu_ns, operations: known.then_some(operations) };
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }
    Ok(())
}

fn numbers(numbers: &[u64], to: &mut Vec<u8>) {
    numbers.iter().for_each(|number| to.extend(number.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage;
    use crate::model::{NodeId, Outcome, StepRef, TaskId, Token, What};

    fn event(at_ns: u64, what: What) -> Event {
        Event { at_ns, node: Some(NodeId(1)), step: StepRef { task: TaskId(3), step: 0 }, what }
    }

    fn said() -> (LastWords, Vec<Event>) {
        let words = LastWords::blank().unwrap();
        let token = Some(Token { generation: 1, sequence: 9 });
        let events = vec![
            event(1, What::Invoked),
            event(2, What::Granted { slot: Some(0), token, valid_until_ns: Some(9) }),
            event(3, What::Returned { outcome: Outcome::Unknown("the link is cut".into()) }),
        ];
        let operations = |load| Some(Operations { load, bystander: 2, renewal: 3 });
        words.event(&events[0]);
        words.spent(&Spent { process_cpu_ns: 1, timer_cpu_ns: 1, operations: operations(1) });
        words.event(&events[1]);
        words.probe(1_000, true);
        words.probe(5_000_000, false);
        words.spent(&Spent { process_cpu_ns: 7, timer_cpu_ns: 5, operations: operations(4) });
        words.event(&events[2]);
        (words, events)
    }

    #[test]
    fn they_are_read_as_they_were_written_also_by_another_hand_and_the_last_count_counts() {
        let (words, events) = said();
        // As a process that inherits it.
        let heir = words.share().unwrap();
        let more = event(4, What::Lost);
        heir.event(&more);
        let (heard, ret) = words.read().unwrap();
        assert_eq!(heard, [&events[..], &[more]].concat());
        assert_eq!((ret.bystander.count(), ret.bystander.censored(), ret.bystander_failed), (2, 1, 1));
        let operations = Some(Operations { load: 4, bystander: 2, renewal: 3 });
        assert_eq!(ret.spent, Spent { process_cpu_ns: 7, timer_cpu_ns: 5, operations });
    }

    #[test]
    fn words_of_many_threads_at_once_are_all_there() {
        const EACH: u64 = 20_000;
        let words = LastWords::blank().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..EACH).for_each(|at_ns| words.event(&event(at_ns, What::Lost))));
            scope.spawn(|| (0..EACH).for_each(|ns| words.probe(ns, true)));
            scope.spawn(|| (0..EACH).for_each(|_| words.spent(&Spent::default())));
        });
        let (events, ret) = words.read().unwrap();
        assert_eq!((events.len() as u64, ret.bystander.count()), (EACH, EACH));
    }

    #[test]
    fn a_word_that_was_not_finished_is_left_out_and_those_before_it_count() {
        let (words, events) = said();
        let length = words.0.metadata().unwrap().len();
        words.0.set_len(length - 1).unwrap();
        assert_eq!(words.read().unwrap().0, events[..2]);
    }

    #[test]
    fn no_damage_makes_their_reader_panic() {
        let (words, _) = said();
        let mut written = vec![0; words.0.metadata().unwrap().len() as usize];
        words.0.read_exact_at(&mut written, 0).unwrap();
        damage::inputs("last words", 20_000, |damage| {
            let mut bytes = written.clone();
            damage.bytes(&mut bytes);
            let words = LastWords(tempfile::tempfile().unwrap());
            words.0.write_all_at(&bytes, 0).unwrap();
            drop(words.read());
        });
    }
}

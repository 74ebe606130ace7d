//! Our own histories, as what clients saw of locks.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _};

use super::super::history::{Call, End, Format, History, Return, Value, Verb};
use super::error::ReadError;
use crate::model::{Event, Mode, Outcome, Plan, ReleaseRet, Resource, StepRef, What};

/// The most that a history may unpack to; twenty million events, in four gigabytes of memory. The longest runs stay below.
const MOST_BYTES: u64 = 2 << 30;

/// The longest line of a history; an event takes some hundred bytes, and as many more as a server's error has.
const MOST_LINE_BYTES: usize = 1 << 20;

/// What is one lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockObject {
    /// Each slot of each resource of level ≥ 1, for the mutex models.
    Slot,
    /// Each resource of this level, for a semaphore.
    Resource {
        /// Its level.
        level: u32,
    },
}

/// Reads a history.ndjson.zst, or the same unpacked. The event at place `n` stands in line `n + 1`.
///
/// # Errors
/// The first line that makes no sense, or at which it has unpacked to more than 2 GiB.
pub fn events(bytes: &[u8]) -> Result<Vec<Event>, ReadError> {
    events_within(bytes, MOST_BYTES)
}

fn events_within(bytes: &[u8], most_bytes: u64) -> Result<Vec<Event>, ReadError> {
    let packed = !bytes.trim_ascii_start().starts_with(b"{");
    let mut lines: Box<dyn BufRead + '_> = if packed {
        let decoder = zstd::Decoder::new(bytes).map_err(|error| damaged(1, &error))?;
        Box::new(BufReader::new(decoder))
    } else {
        Box::new(bytes)
    };
    let (mut events, mut line, mut unpacked) = (Vec::new(), Vec::new(), 0);
    for number in 1.. {
        line.clear();
        // A line without an end would take all the memory there is.
        let read = lines.by_ref().take(MOST_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line);
        unpacked += read.map_err(|error| damaged(number, &error))? as u64;
        if line.is_empty() {
            break;
        }
        if line.len() > MOST_LINE_BYTES {
            let what = format!("a line of more than {MOST_LINE_BYTES} bytes, which no event has");
            return Err(ReadError::new(number, what));
        }
        if unpacked > most_bytes {
            let what = format!(
                "it unpacks to more than {most_bytes} bytes, the most that is read; no run leaves so much"
            );
            return Err(ReadError::new(number, what));
        }
        events.push(serde_json::from_slice(&line).map_err(|error| {
            ReadError::new(number, format!("not an event ({error}); was it written by another version?"))
        })?);
    }
    Ok(events)
}

fn damaged(line: usize, error: &std::io::Error) -> ReadError {
    ReadError::new(line, format!("cannot be unpacked ({error}); copy the file again"))
}

/// What the history says of one step.
#[derive(Debug, Default)]
struct Section<'a> {
    invoked: Option<Stamp>,
    granted: Option<(Stamp, &'a What)>,
    /// The agent saw it end, or refused it.
    ended: Option<Stamp>,
    release_sent: Option<Stamp>,
    released: Option<(Stamp, &'a ReleaseRet)>,
    returned: Option<(Stamp, &'a Outcome)>,
}

#[derive(Debug, Clone, Copy)]
struct Stamp {
    at: u64,
    line: usize,
}

/// A run's history as calls on locks, each step a client of its own. A queue's release counts from the leave that the
/// agent saw until the step returned. A hold without any sign of its end may have ended at any time since its grant.
/// Bystanders and resources with shared steps are left out.
///
/// # Errors
/// An event of a step that the plan does not have.
pub fn locks(events: &[Event], plan: &Plan, object: LockObject) -> Result<History, ReadError> {
    let mut sections: BTreeMap<StepRef, Section<'_>> = BTreeMap::new();
    for (number, event) in events.iter().enumerate() {
        if event.step.task.is_bystander() {
            continue;
        }
        if !plan.contains(event.step) {
            let what = format!("{} is not in the plan; the manifest is of another batch", event.step);
            return Err(ReadError::new(number + 1, what));
        }
        sections
            .entry(event.step)
            .or_default()
            .note(Stamp { at: event.at_ns, line: number + 1 }, &event.what);
    }
    let mut shared = vec![false; plan.resources.len()];
    for task in plan.tasks.iter() {
        let steps = task.steps().filter(|step| step.mode == Mode::Shared);
        steps.for_each(|step| shared[step.resource as usize] = true);
    }
    let mut history = History { format: Format::Events, ..History::default() };
    for (step, section) in &sections {
        let resource = plan.resource(*step);
        let wanted = match object {
            LockObject::Slot => resource.level > 0,
            LockObject::Resource { level } => resource.level == level,
        };
        if wanted && !shared[plan.step(*step).resource as usize] {
            section.calls(resource, object, &mut history, *step);
        }
    }
    history.calls.sort_by_key(|call| call.at);
    Ok(history)
}

impl<'a> Section<'a> {
    fn note(&mut self, stamp: Stamp, what: &'a What) {
        match what {
            What::Invoked => self.invoked = self.invoked.or(Some(stamp)),
            What::Granted { .. } => self.granted = self.granted.or(Some((stamp, what))),
            What::Left { .. } | What::Rejected { .. } => self.ended = self.ended.or(Some(stamp)),
            What::ReleaseSent => self.release_sent = self.release_sent.or(Some(stamp)),
            What::Released { ret } => self.released = self.released.or(Some((stamp, ret))),
            What::Returned { outcome } => self.returned = self.returned.or(Some((stamp, outcome))),
            What::Lost | What::Entered { .. } | What::Superseded | What::Abandoned => {}
        }
    }

    fn calls(&self, resource: Resource, object: LockObject, history: &mut History, step: StepRef) {
        let Some(invoked) = self.invoked.or(self.granted.map(|(stamp, _)| stamp)) else { return };
        let slot = match (self.granted, object) {
            (_, LockObject::Resource { .. }) => None,
            (Some((_, What::Granted { slot: Some(slot), .. })), _) => Some(*slot..slot.saturating_add(1)),
            // The only slot there is.
            (_, LockObject::Slot) if resource.level == 1 => Some(0..1),
            // It could have been any.
            (None, LockObject::Slot) => Some(0..resource.level),
            // A grant of a level that names no slot says nothing about one.
            (Some(_), LockObject::Slot) => return,
        };
        let process = history.processes.len() as u32;
        history.processes.push(step.to_string());
        let mut push = |key: String, verb, from: Stamp, ret| {
            let (key, value) = (Some(key.into_boxed_str()), Value::Nil);
            history.calls.push(Call { process, verb, key, value, at: from.at, line: from.line, ret });
        };
        let keys = match slot {
            None => vec![resource.key()],
            Some(slots) => slots.map(|slot| format!("{}#{slot}", resource.key())).collect(),
        };
        for key in keys {
            push(key.clone(), Verb::Acquire, invoked, self.acquired());
            if self.granted.is_some() {
                let (from, ret) = self.given_back(invoked);
                push(key, Verb::Release, from, ret);
            }
        }
    }

    fn acquired(&self) -> Option<Return> {
        let (stamp, end, value) = match (self.granted, self.returned) {
            (Some((stamp, What::Granted { token: Some(token), .. })), _) => {
                let fence = u128::from(token.generation) << 64 | u128::from(token.sequence);
                (stamp, End::Ok, Value::Fence(fence))
            }
            (Some((stamp, _)), _) => (stamp, End::Ok, Value::Nil),
            (None, None | Some((_, Outcome::Unknown(_)))) => return None,
            (None, Some((stamp, _))) => (stamp, End::Fail, Value::Nil),
        };
        Some(Return { at: stamp.at, line: stamp.line, end, value })
    }

    /// From when on the hold may have ended, and when it was said to have.
    fn given_back(&self, invoked: Stamp) -> (Stamp, Option<Return>) {
        let granted = self.granted.map_or(invoked, |(stamp, _)| stamp);
        let end = |stamp: Stamp, end| Some(Return { at: stamp.at, line: stamp.line, end, value: Value::Nil });
        match (self.release_sent, self.ended) {
            (Some(sent), _) => match self.released {
                Some((stamp, ReleaseRet::Released)) => (sent, end(stamp, End::Ok)),
                Some((stamp, ReleaseRet::AlreadyLost)) => (sent, end(stamp, End::Fail)),
                Some((_, ReleaseRet::Unknown(_))) | None => (sent, None),
            },
            (None, Some(ended)) => (ended, self.returned.and_then(|(stamp, _)| end(stamp, End::Ok))),
            (None, None) => (granted, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use allocation_counter::measure;

    use super::*;

    #[test]
    fn what_unpacks_to_more_than_a_history_is_refused_with_the_bound() {
        let event = br#"{"at_ns":7,"node":0,"task":3,"step":1,"event":"invoked"}"#;
        let line = [&event[..], b"\n"].concat();
        let whole = zstd::encode_all(&line.repeat(10)[..], 1).unwrap();
        assert_eq!(events_within(&whole, 10 * line.len() as u64).unwrap().len(), 10);
        let error = events_within(&whole, 10 * line.len() as u64 - 1).unwrap_err();
        assert!(error.line == 10 && error.what.contains("569 bytes"), "{error}");
    }

    #[test]
    fn a_bomb_of_one_line_takes_no_memory() {
        let bomb = zstd::encode_all(std::io::repeat(b'7').take(1 << 30), 1).unwrap();
        assert!(bomb.len() < 1 << 20);
        let used = measure(|| {
            let error = events(&bomb).unwrap_err();
            assert!(error.what.contains("1048576 bytes"), "{error}");
        });
        assert!(used.bytes_max < 32 << 20, "{} bytes", used.bytes_max);
    }
}

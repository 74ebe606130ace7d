//! Events in a file without a name, in chunks each of which is in the order of time, and the way back: all of them in the
//! order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::codec::{LENGTH, decode, encode};
use crate::model::{Event, Events};

/// How much of a chunk is read at a time.
const READ: usize = 1 << 14;

/// The file is gone when this is, however the process ends.
#[derive(Debug)]
pub(in crate::engine) struct Chunks {
    file: File,
    /// Where each ends, in the order in which they were recorded.
    ends: Vec<u64>,
}

impl Chunks {
    /// None yet, in a file in this folder.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(folder)?, ends: Vec::new() })
    }

    /// Events of one stamp keep their order.
    pub(super) fn append(&mut self, events: &mut [Event]) -> io::Result<()> {
        events.sort_by_key(|event| event.at_ns);
        let (mut to, mut bytes, mut end) = (BufWriter::new(&self.file), Vec::new(), self.end());
        for event in events {
            bytes.clear();
            encode(event, &mut bytes);
            to.write_all(&bytes)?;
            end += bytes.len() as u64;
        }
        to.flush()?;
        self.ends.push(end);
        Ok(())
    }

    fn end(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }
}

impl Events for Chunks {
    type Error = io::Error;

    fn pass(&self, see: &mut dyn FnMut(usize, &Event)) -> io::Result<()> {
        let begins = [0].iter().chain(&self.ends);
        let chunks = begins.zip(&self.ends).map(|(begin, end)| Chunk::new(&self.file, *begin, *end));
        let mut chunks: Vec<Chunk<'_>> = chunks.collect();
        // Of one stamp, those of the earlier chunk were recorded earlier.
        let mut firsts = BinaryHeap::new();
        for (place, chunk) in chunks.iter_mut().enumerate() {
            firsts.extend(chunk.next()?.map(|event| Reverse((event.at_ns, place))));
        }
        for at in 0.. {
            let Some(mut first) = firsts.peek_mut() else { break };
            let Reverse((_, place)) = *first;
            let event = chunks[place].first.take().expect("a chunk with a stamp has the event");
            see(at, &event);
            match chunks[place].next()? {
                Some(next) => *first = Reverse((next.at_ns, place)),
                None => drop(std::collections::binary_heap::PeekMut::pop(first)),
            }
        }
        Ok(())
    }
}

/// A chunk as it is read.
struct Chunk<'a> {
    file: &'a File,
    /// What is not read yet.
    from: u64,
    end: u64,
    bytes: Vec<u8>,
    /// Of the bytes, what is decoded.
    used: usize,
    first: Option<Event>,
}

impl<'a> Chunk<'a> {
    fn new(file: &'a File, from: u64, end: u64) -> Self {
        Self { file, from, end, bytes: Vec::new(), used: 0, first: None }
    }

    /// Decodes the next event into `first`; none where the chunk is over.
    fn next(&mut self) -> io::Result<Option<&Event>> {
        if self.from == self.end && self.used == self.bytes.len() {
            return Ok(None);
        }
        self.have(LENGTH)?;
        let length = self.bytes[self.used..self.used + LENGTH].try_into();
        let length = u32::from_le_bytes(length.expect("so many bytes were read")) as usize;
        self.have(LENGTH + length)?;
        let begin = self.used + LENGTH;
        self.used = begin + length;
        self.first = Some(decode(&self.bytes[begin..self.used])?);
        Ok(self.first.as_ref())
    }

    /// Reads on until so many bytes are there to be decoded.
    fn have(&mut self, wanted: usize) -> io::Result<()> {
        let held = self.bytes.len() - self.used;
        if held >= wanted {
            return Ok(());
        }
        self.bytes.drain(..self.used);
        self.used = 0;
        let left = usize::try_from(self.end - self.from).unwrap_or(usize::MAX);
        let more = READ.max(wanted - held).min(left);
        self.bytes.resize(held + more, 0);
        self.file.read_exact_at(&mut self.bytes[held..], self.from)?;
        self.from += more as u64;
        if self.bytes.len() >= wanted { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::codec::tests::event;
    use super::*;

    proptest! {
        #[test]
        fn chunks_are_gone_through_as_all_of_them_sorted_by_time(
            chunks in vec(vec((0_u64..20, event()), 0..40), 0..6),
        ) {
            let at = |(at_ns, event)| Event { at_ns, ..event };
            let chunks: Vec<Vec<Event>> =
                chunks.into_iter().map(|chunk| chunk.into_iter().map(at).collect()).collect();
            let folder = tempfile::tempdir().unwrap();
            let mut stored = Chunks::new(folder.path()).unwrap();
            for chunk in &chunks {
                stored.append(&mut chunk.clone()).unwrap();
            }
            let mut sorted = chunks.concat();
            sorted.sort_by_key(|event| event.at_ns);
            // More than once, and with its place.
            for _ in 0..2 {
                let mut seen = Vec::new();
                stored.pass(&mut |at, event| seen.push((at, event.clone()))).unwrap();
                prop_assert_eq!(&seen, &sorted.iter().cloned().enumerate().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn an_event_longer_than_what_is_read_at_a_time_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut stored = Chunks::new(folder.path()).unwrap();
        let long = Event {
            at_ns: 1,
            node: None,
            step: crate::model::StepRef { task: crate::model::TaskId(0), step: 0 },
            what: crate::model::What::Rejected { reason: "x".repeat(3 * READ) },
        };
        stored.append(&mut [long.clone(), long.clone()]).unwrap();
        let mut seen = 0;
        stored.pass(&mut |_, event| seen += usize::from(*event == long)).unwrap();
        assert_eq!(seen, 2);
    }
}

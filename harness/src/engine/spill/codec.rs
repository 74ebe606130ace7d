//! An event in a few bytes, for as long as a run lasts. What is kept of a history is written as JSON.

use std::io;

use crate::model::{Event, NodeId, Outcome, ReleaseRet, StepRef, TaskId, Token, What};

/// Bytes before an event that say how long it is.
pub(in crate::engine) const LENGTH: usize = 4;

/// Appends an event, its length first.
pub(in crate::engine) fn encode(event: &Event, to: &mut Vec<u8>) {
    let begin = to.len();
    to.extend([0; LENGTH]);
    number(event.at_ns, to);
    option(event.node.map(|node| u64::from(node.0)), to);
    to.extend(event.step.task.0.to_le_bytes());
    to.extend(event.step.step.to_le_bytes());
    match &event.what {
        What::Invoked => to.push(0),
        What::Granted { slot, token: drawn, valid_until_ns } => {
            to.push(1);
            option(slot.map(u64::from), to);
            token(*drawn, to);
            option(*valid_until_ns, to);
        }
        What::Lost => to.push(2),
        What::ReleaseSent => to.push(3),
        What::Released { ret } => {
            to.push(4);
            match ret {
                ReleaseRet::Released => to.push(0),
                ReleaseRet::AlreadyLost => to.push(1),
                ReleaseRet::Unknown(why) => text(2, why, to),
            }
        }
        What::Returned { outcome } => {
            to.push(5);
            match outcome {
                Outcome::Completed => to.push(0),
                Outcome::Rejected(why) => text(1, why, to),
                Outcome::Refused(why) => text(2, why, to),
                Outcome::Failed(why) => text(3, why, to),
                Outcome::TimedOut => to.push(4),
                Outcome::Unknown(why) => text(5, why, to),
            }
        }
        What::Entered { slot, token: shown, value } => {
            to.push(6);
            option(slot.map(u64::from), to);
            token(*shown, to);
            number(*value, to);
        }
        What::Left { wrote } => {
            to.push(7);
            option(*wrote, to);
        }
        What::Superseded => to.push(8),
        What::Rejected { reason } => text(9, reason, to),
        What::Abandoned => to.push(10),
    }
    let length = (to.len() - begin - LENGTH) as u32;
    to[begin..begin + LENGTH].copy_from_slice(&length.to_le_bytes());
}

/// The event in these bytes, its length left out.
pub(in crate::engine) fn decode(bytes: &[u8]) -> io::Result<Event> {
    let mut rest = Rest(bytes);
    let event = Event {
        at_ns: rest.number()?,
        node: rest.option()?.map(|node| NodeId(node as u16)),
        step: StepRef {
            task: TaskId(u32::from_le_bytes(rest.take()?)),
            step: u16::from_le_bytes(rest.take()?),
        },
        what: match rest.byte()? {
            0 => What::Invoked,
            1 => What::Granted {
                slot: rest.option()?.map(|slot| slot as u32),
                token: rest.token()?,
                valid_until_ns: rest.option()?,
            },
            2 => What::Lost,
            3 => What::ReleaseSent,
            4 => What::Released {
                ret: match rest.byte()? {
                    0 => ReleaseRet::Released,
                    1 => ReleaseRet::AlreadyLost,
                    2 => ReleaseRet::Unknown(rest.text()?),
                    _ => return Err(strange()),
                },
            },
            5 => What::Returned {
                outcome: match rest.byte()? {
                    0 => Outcome::Completed,
                    1 => Outcome::Rejected(rest.text()?),
                    2 => Outcome::Refused(rest.text()?),
                    3 => Outcome::Failed(rest.text()?),
                    4 => Outcome::TimedOut,
                    5 => Outcome::Unknown(rest.text()?),
                    _ => return Err(strange()),
                },
            },
            6 => What::Entered {
                slot: rest.option()?.map(|slot| slot as u32),
                token: rest.token()?,
                value: rest.number()?,
            },
            7 => What::Left { wrote: rest.option()? },
            8 => What::Superseded,
            9 => What::Rejected { reason: rest.text()? },
            10 => What::Abandoned,
            _ => return Err(strange()),
        },
    };
    if rest.0.is_empty() { Ok(event) } else { Err(strange()) }
}

fn number(value: u64, to: &mut Vec<u8>) {
    to.extend(value.to_le_bytes());
}

fn option(value: Option<u64>, to: &mut Vec<u8>) {
    to.push(u8::from(value.is_some()));
    if let Some(value) = value {
        number(value, to);
    }
}

fn token(value: Option<Token>, to: &mut Vec<u8>) {
    option(value.map(|token| token.generation), to);
    if let Some(token) = value {
        number(token.sequence, to);
    }
}

/// All that is left of the event.
fn text(tag: u8, words: &str, to: &mut Vec<u8>) {
    to.push(tag);
    to.extend(words.as_bytes());
}

fn strange() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "these bytes are no event")
}

/// What is left to decode.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(strange)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(u8::from_le_bytes(self.take()?))
    }

    fn number(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn option(&mut self) -> io::Result<Option<u64>> {
        if self.byte()? == 0 { Ok(None) } else { self.number().map(Some) }
    }

    fn token(&mut self) -> io::Result<Option<Token>> {
        match self.option()? {
            Some(generation) => Ok(Some(Token { generation, sequence: self.number()? })),
            None => Ok(None),
        }
    }

    fn text(&mut self) -> io::Result<String> {
        let words = std::str::from_utf8(std::mem::take(&mut self.0)).map_err(|_| strange())?;
        Ok(words.to_owned())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> impl Strategy<Value = Option<Token>> {
        let token = |(generation, sequence)| Token { generation, sequence };
        proptest::option::of(any::<(u64, u64)>().prop_map(token))
    }

    fn what() -> impl Strategy<Value = What> {
        let outcome = prop_oneof![
            Just(Outcome::Completed),
            Just(Outcome::TimedOut),
            any::<String>().prop_map(Outcome::Rejected),
            any::<String>().prop_map(Outcome::Refused),
            any::<String>().prop_map(Outcome::Failed),
            any::<String>().prop_map(Outcome::Unknown),
        ];
        let ret = prop_oneof![
            Just(ReleaseRet::Released),
            Just(ReleaseRet::AlreadyLost),
            any::<String>().prop_map(ReleaseRet::Unknown),
        ];
        prop_oneof![
            Just(What::Invoked),
            Just(What::Lost),
            Just(What::ReleaseSent),
            Just(What::Superseded),
            Just(What::Abandoned),
            outcome.prop_map(|outcome| What::Returned { outcome }),
            ret.prop_map(|ret| What::Released { ret }),
            any::<String>().prop_map(|reason| What::Rejected { reason }),
            any::<Option<u64>>().prop_map(|wrote| What::Left { wrote }),
            (any::<Option<u32>>(), token(), any::<Option<u64>>())
                .prop_map(|(slot, token, valid_until_ns)| What::Granted { slot, token, valid_until_ns }),
            (any::<Option<u32>>(), token(), any::<u64>()).prop_map(|(slot, token, value)| What::Entered {
                slot,
                token,
                value
            }),
        ]
    }

    /// Any event, of any kind.
    pub(in crate::engine::spill) fn event() -> impl Strategy<Value = Event> {
        let whose = (any::<u64>(), any::<Option<u16>>(), any::<u32>(), any::<u16>());
        (whose, what()).prop_map(|((at_ns, node, task, step), what)| Event {
            at_ns,
            node: node.map(NodeId),
            step: StepRef { task: TaskId(task), step },
            what,
        })
    }

    proptest! {
        #[test]
        fn every_event_comes_back_as_it_was(event in event()) {
            let mut bytes = Vec::new();
            encode(&event, &mut bytes);
            let length = u32::from_le_bytes(bytes[..LENGTH].try_into().unwrap());
            prop_assert_eq!(length as usize, bytes.len() - LENGTH);
            prop_assert_eq!(decode(&bytes[LENGTH..]).unwrap(), event.clone());
            // What is cut short is no event, or its words are.
            prop_assert_ne!(decode(&bytes[LENGTH..bytes.len() - 1]).ok(), Some(event));
        }
    }
}

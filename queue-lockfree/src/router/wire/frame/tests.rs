use allocation_counter::measure;
use harness::damage::{self, Damage};
use proptest::prelude::*;

use super::*;

fn answers() -> impl Strategy<Value = Result<Bytes, Refusal>> {
    prop_oneof![
        any::<Vec<u8>>().prop_map(|payload| Ok(payload.into())),
        Just(Err(Refusal::QueueFull)),
        Just(Err(Refusal::TimedOut)),
        Just(Err(Refusal::Shutdown)),
        (any::<Option<u16>>(), any::<u64>())
            .prop_map(|(owner, epoch)| Err(Refusal::WrongOwner { owner: owner.map(NodeId), epoch })),
        any::<String>().prop_map(|reason| Err(Refusal::Failed(reason))),
        any::<String>().prop_map(|reason| Err(Refusal::Unknown(reason))),
    ]
}

fn frames() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (any::<[u8; 32]>(), any::<u16>(), any::<u16>()).prop_map(|(secret, from, to)| Frame::Hello {
            secret: Secret(secret),
            from: NodeId(from),
            to: NodeId(to)
        }),
        (any::<[u8; 32]>(), any::<u16>())
            .prop_map(|(secret, node)| Frame::Welcome { secret: Secret(secret), node: NodeId(node) }),
        (any::<(u64, u64, u32, u64)>(), any::<String>(), any::<Vec<u8>>()).prop_map(
            |((correlation, epoch, level, deadline_ns), key, payload)| {
                let payload = payload.into();
                Frame::Request(Request { correlation, epoch, level, deadline_ns, key, payload })
            }
        ),
        (any::<u64>(), answers()).prop_map(|(correlation, answer)| Frame::Reply { correlation, answer }),
        any::<u64>().prop_map(|correlation| Frame::Cancel { correlation }),
        any::<u64>().prop_map(|correlation| Frame::Probe { correlation }),
        any::<u64>().prop_map(|correlation| Frame::Alive { correlation }),
        (any::<(u64, u64)>(), any::<String>()).prop_map(|((correlation, epoch), key)| Frame::Drain {
            correlation,
            epoch,
            key
        }),
    ]
}

fn encoded(frames: &[Frame]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for frame in frames {
        frame.encode(&mut bytes);
    }
    bytes
}

/// Decodes until bytes are missing or wrong; each round consumes some, so it ends.
fn decode_all(buffer: &mut BytesMut, max: usize) -> Result<Vec<Frame>, FrameError> {
    let mut frames = Vec::new();
    while let Some(frame) = Frame::decode(buffer, max)? {
        frames.push(frame);
    }
    Ok(frames)
}

proptest! {
    #[test]
    fn frames_survive_any_cut_of_the_stream(
        frames in proptest::collection::vec(frames(), 1..8),
        cuts in proptest::collection::vec(1_usize..64, 1..64),
    ) {
        let stream = encoded(&frames);
        let (mut buffer, mut decoded) = (BytesMut::new(), Vec::new());
        let mut rest = &stream[..];
        for size in cuts.into_iter().cycle() {
            let (now, later) = rest.split_at(size.min(rest.len()));
            buffer.extend_from_slice(now);
            decoded.extend(decode_all(&mut buffer, 1 << 20).unwrap());
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(decoded, frames);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn garbage_never_panics(garbage in any::<Vec<u8>>(), length in any::<Option<u8>>()) {
        // Half of the cases get a true length, so that the fields are reached.
        let mut buffer = BytesMut::new();
        if length.is_some() {
            buffer.put_u32(u32::try_from(garbage.len()).unwrap());
        }
        buffer.extend_from_slice(&garbage);
        drop(decode_all(&mut buffer, 4096));
    }

    #[test]
    fn a_damaged_frame_never_panics(frame in frames(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut buffer = encoded(&[frame]);
        let at = at.index(buffer.len());
        buffer[at] = byte;
        drop(decode_all(&mut buffer, 1 << 20));
    }

    #[test]
    fn a_frame_cut_short_inside_is_an_error_or_another_frame(frame in frames(), at in any::<prop::sample::Index>()) {
        let whole = encoded(std::slice::from_ref(&frame));
        let kept = at.index(whole.len() - LENGTH_BYTES);
        let mut buffer = BytesMut::new();
        buffer.put_u32(u32::try_from(kept).unwrap());
        buffer.extend_from_slice(&whole[LENGTH_BYTES..LENGTH_BYTES + kept]);
        if let Ok(decoded) = decode_all(&mut buffer, 1 << 20) {
            prop_assert_ne!(decoded, vec![frame]);
        }
    }
}

/// A frame of any kind, its numbers often those at which arithmetic breaks.
fn drawn(damage: &mut Damage) -> Frame {
    let correlation = damage.number();
    let key = ["", "vm-1", "volume/ü"][damage.below(3)].repeat(1 + damage.below(4));
    let payload = Bytes::from(vec![7; damage.below(200)]);
    let node = NodeId(damage.number() as u16);
    match damage.below(8) {
        0 => Frame::Hello { secret: Secret([1; 32]), from: node, to: NodeId(2) },
        1 => Frame::Welcome { secret: Secret([1; 32]), node },
        2 => {
            let (epoch, level, deadline_ns) = (damage.number(), damage.number() as u32, damage.number());
            Frame::Request(Request { correlation, epoch, level, deadline_ns, key, payload })
        }
        3 => {
            let owner = (!damage.once_in(2)).then_some(node);
            let refusals = [
                Refusal::QueueFull,
                Refusal::WrongOwner { owner, epoch: damage.number() },
                Refusal::Failed(key.clone()),
                Refusal::Unknown(key),
            ];
            let refused = Err(damage.one_of(&refusals).clone());
            Frame::Reply { correlation, answer: if damage.once_in(2) { Ok(payload) } else { refused } }
        }
        4 => Frame::Cancel { correlation },
        5 => Frame::Probe { correlation },
        6 => Frame::Alive { correlation },
        _ => Frame::Drain { correlation, epoch: damage.number(), key },
    }
}

/// What is decoded is a part of what came, and no length makes room for more.
#[test]
fn no_damage_to_a_stream_makes_it_panic_or_take_more_memory_than_the_stream() {
    damage::inputs("frames of the router", 20_000, |damage| {
        let frames: Vec<Frame> = (0..=damage.below(4)).map(|_| drawn(damage)).collect();
        let mut stream = encoded(&frames).to_vec();
        damage.bytes(&mut stream);
        let most = 4 * stream.len() as u64 + 4096;
        let used = measure(|| {
            let mut buffer = BytesMut::from(&stream[..]);
            if let Ok(decoded) = decode_all(&mut buffer, 4096) {
                let mut again = encoded(&decoded);
                assert_eq!(decode_all(&mut again, usize::MAX), Ok(decoded), "what is read can be said");
            }
        });
        assert!(used.bytes_max <= 4 * most, "{} bytes for {}", used.bytes_max, stream.len());
    });
}

#[test]
fn an_oversized_frame_is_refused_before_its_bytes_arrive() {
    let mut buffer = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
    let error = Frame::decode(&mut buffer, 1024).unwrap_err();
    assert_eq!(error, FrameError::Oversized { length: 0xffff_ffff, max: 1024 });
}

#[test]
fn a_key_longer_than_its_frame_is_refused() {
    let request = Request {
        correlation: 1,
        epoch: 1,
        level: 1,
        deadline_ns: 1,
        key: "vm-1".into(),
        payload: Bytes::new(),
    };
    let mut buffer = encoded(&[Frame::Request(request)]);
    let key_length = LENGTH_BYTES + HEADER_BYTES + 8 + 4 + 8;
    buffer[key_length..key_length + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(Frame::decode(&mut buffer, 1024), Err(FrameError::Truncated));
}

#[test]
fn bytes_after_the_last_field_are_refused() {
    let mut buffer = encoded(&[Frame::Probe { correlation: 7 }]);
    buffer.put_u8(0);
    buffer[3] += 1;
    assert_eq!(Frame::decode(&mut buffer, 1024), Err(FrameError::Trailing(1)));
}

#[test]
fn another_version_is_refused() {
    let mut buffer = encoded(&[Frame::Probe { correlation: 7 }]);
    buffer[LENGTH_BYTES] = PROTOCOL_VERSION + 1;
    assert_eq!(Frame::decode(&mut buffer, 1024), Err(FrameError::Version(PROTOCOL_VERSION + 1)));
}

/// What is read is read into a buffer of 64 KiB, of which every frame in it is a part.
#[test]
fn a_small_task_that_waits_does_not_keep_what_was_read_with_it() {
    for (length, copied) in
        [(0, true), (64, true), (SHARED_BYTES - FRAME_OVERHEAD, true), (SHARED_BYTES, false)]
    {
        let payload = Bytes::from(vec![7; length]);
        let request = Request {
            correlation: 1,
            epoch: 1,
            level: 1,
            deadline_ns: 1,
            key: "vm-1".into(),
            payload: payload.clone(),
        };
        let reply = Frame::Reply { correlation: 1, answer: Ok(payload.clone()) };
        for frame in [Frame::Request(request), reply] {
            let mut buffer = encoded(&[frame]);
            let read = buffer.as_ptr_range();
            let kept = match Frame::decode(&mut buffer, READ_BYTES).unwrap().unwrap() {
                Frame::Request(request) => request.payload,
                Frame::Reply { answer, .. } => answer.unwrap(),
                frame => panic!("{frame:?}"),
            };
            assert_eq!(kept, payload);
            assert_eq!(!read.contains(&kept.as_ptr()), copied, "{length} bytes");
        }
    }
}

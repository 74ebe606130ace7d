//! What is said arrives as it was said, or not at all.

use allocation_counter::measure;
use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::json;
use tokio_util::codec::{Decoder as _, LengthDelimitedCodec};

use super::*;
use crate::damage;
use crate::model::{Outcome, ReleaseRet, What};
use crate::placement::frames::{FrameError, PROTOCOL_VERSION, decode};

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read_but_never_panic(bytes: Vec<u8>) {
        drop(decode::<Hello>(&bytes));
        drop(decode::<ToDriver>(&bytes));
        drop(decode::<ToNode>(&bytes));
        drop(decode::<Ask>(&bytes));
    }

    #[test]
    fn a_damaged_frame_is_refused_or_read_but_never_panics(place: usize, byte: u8) {
        let ask = Ask {
            number: 7,
            step: StepRef { task: crate::model::TaskId(3), step: 1 },
            slot: Some(0),
            what: AskWhat::Enter { token: Some(Token { generation: 1, sequence: 9 }) },
        };
        let mut bytes = serde_json::to_vec(&ask).unwrap();
        prop_assert_eq!(&decode::<Ask>(&bytes).unwrap(), &ask);
        let place = place % bytes.len();
        bytes[place] = byte;
        drop(decode::<Ask>(&bytes));
        bytes.truncate(place);
        prop_assert!(decode::<Ask>(&bytes).is_err());
    }

    #[test]
    fn a_view_arrives_as_it_was_sent_and_half_of_it_not_at_all(epoch: u64, members: Vec<u16>, cut: usize) {
        let view = ToNode::View(View { epoch, members: members.into_iter().map(NodeId).collect() });
        let bytes = serde_json::to_vec(&view).unwrap();
        prop_assert_eq!(&decode::<ToNode>(&bytes).unwrap(), &view);
        prop_assert!(decode::<ToNode>(&bytes[..cut % bytes.len()]).is_err());
    }
}

#[test]
fn nesting_without_end_is_refused() {
    let bytes = [b'['].repeat(1 << 20);
    assert!(matches!(decode::<ToDriver>(&bytes), Err(FrameError::Malformed(_))));
}

/// A frame of each kind that is sent, as JSON.
fn said() -> Vec<serde_json::Value> {
    let step = StepRef { task: crate::model::TaskId(3), step: 1 };
    let token = Some(Token { generation: 1, sequence: 9 });
    let event = |what| Event { at_ns: 7_000_000, node: Some(NodeId(1)), step, what };
    let events = vec![
        event(What::Invoked),
        event(What::Granted { slot: Some(0), token, valid_until_ns: Some(9_000_000) }),
        event(What::Released { ret: ReleaseRet::Unknown("the link is cut".into()) }),
        event(What::Returned { outcome: Outcome::Completed }),
    ];
    let plan = crate::judge::fixture::run(1, 2, &[]).facts.plan;
    let tasks = ToNode::Tasks(plan.tasks.iter().map(|task| task.to_task()).collect());
    let (secret, mechanism) = (Secret::from("s3cret".to_owned()), Sealed(json!({ "lock": "redis-fenced" })));
    let told = Planned::Told { rest: (*plan).clone(), tasks: 2 };
    let job = Job { plan: told, mechanism, incarnation: 0, former: Some("here".into()) };
    let view = View { epoch: 4, members: vec![NodeId(0), NodeId(1)] };
    let start = ToNode::Start {
        origin_ns: 5,
        from_ns: 0,
        from_task: None,
        introductions: vec!["a".into()],
        view: view.clone(),
    };
    let ready = ToDriver::Ready {
        digest: "beef".into(),
        introduction: "here".into(),
        detection: "none".into(),
        promises: crate::model::Promises::default(),
    };
    let hello = Hello { version: PROTOCOL_VERSION, secret, node: NodeId(1), channel: Channel::Agent };
    let enter = Ask { number: 7, step, slot: Some(0), what: AskWhat::Enter { token } };
    let leave = Ask { number: 8, step, slot: None, what: AskWhat::Leave { write: Some(4) } };
    let reply = Reply { number: 7, ret: AgentRet::Enter(EnterRet::Entered(3)) };
    let cut = ToNode::Disturb(Some(FaultVerb::Cut { way: crate::model::Direction::Both }));
    let ended = ToDriver::Ended(Box::default());
    [
        serde_json::to_value(hello),
        serde_json::to_value(Welcome::Refused("wrong secret".into())),
        serde_json::to_value(ToNode::Job(Box::new(job))),
        serde_json::to_value(tasks),
        serde_json::to_value(start),
        serde_json::to_value(ToNode::View(view)),
        serde_json::to_value(cut),
        serde_json::to_value(ready),
        serde_json::to_value(ToDriver::Events(events)),
        serde_json::to_value(ended),
        serde_json::to_value(enter),
        serde_json::to_value(leave),
        serde_json::to_value(reply),
    ]
    .into_iter()
    .collect::<Result<_, _>>()
    .unwrap()
}

#[test]
fn no_damage_to_what_is_said_makes_its_reader_panic_or_take_much_memory() {
    let said = said();
    damage::inputs("frames of the placement", 20_000, |damage| {
        let mut frame = damage.one_of(&said).clone();
        let structural = damage.once_in(2);
        if structural {
            damage.document(&mut frame);
        }
        let text = serde_json::to_vec(&frame).unwrap();
        let mut bytes = [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], &text].concat();
        if !structural || damage.once_in(4) {
            damage.bytes(&mut bytes);
        }
        let used = measure(|| {
            let mut codec = LengthDelimitedCodec::builder().max_frame_length(AGENT_BYTES).new_codec();
            let mut stream = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = codec.decode(&mut stream) {
                drop(decode::<Hello>(&frame));
                drop(decode::<Welcome>(&frame));
                drop(decode::<ToNode>(&frame));
                drop(decode::<ToDriver>(&frame));
                drop(decode::<Ask>(&frame));
                drop(decode::<Reply>(&frame));
            }
        });
        // A histogram that has seen nothing takes as much as one that has.
        let most = 64 * bytes.len() as u64 + AGENT_BYTES as u64 + (1 << 20);
        assert!(used.bytes_max <= most, "{} bytes for {}", used.bytes_max, bytes.len());
    });
}

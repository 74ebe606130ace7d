//! What travels where steps run elsewhere than they were asked for: the reference of a step, and the right to run it.

use bytes::Bytes;
use harness::engine::Lease;
use harness::model::{StepRef, TaskId};
use tokio_util::sync::CancellationToken;

/// A queue's slot is held until it is given back, or until whoever works the queue off is told that it no longer does.
#[derive(Debug)]
pub(super) struct Held(pub(super) CancellationToken);

impl Lease for Held {
    fn valid_until_ns(&self) -> Option<u64> {
        None
    }

    fn lost(&self) -> CancellationToken {
        self.0.clone()
    }
}

pub(super) fn encode(step: StepRef) -> Bytes {
    let mut payload = [0; 6];
    payload[..4].copy_from_slice(&step.task.0.to_le_bytes());
    payload[4..].copy_from_slice(&step.step.to_le_bytes());
    Bytes::copy_from_slice(&payload)
}

pub(super) fn decode(payload: &[u8]) -> Option<StepRef> {
    let (task, step) = payload.split_at_checked(4)?;
    let task = TaskId(u32::from_le_bytes(task.try_into().ok()?));
    Some(StepRef { task, step: u16::from_le_bytes(step.try_into().ok()?) })
}

//! A semaphore that knows its owners.

use super::super::object::Model;
use super::mutex::{MutexOp, woken};

/// Up to so many permits are held at once; a process may hold several, and releases only what it holds.
#[derive(Debug, Clone, Copy)]
pub struct Semaphore(pub u32);

impl Model for Semaphore {
    type Op = MutexOp;
    /// The holders, sorted; a process stands as often as it holds a permit.
    type State = Vec<u32>;

    fn initial(&self) -> Vec<u32> {
        Vec::new()
    }

    fn step(&self, holders: &Vec<u32>, op: &MutexOp) -> Option<Vec<u32>> {
        let mut after = holders.clone();
        match *op {
            MutexOp::Acquire(process) => {
                if holders.len() >= self.0 as usize {
                    return None;
                }
                let place = holders.partition_point(|holder| *holder <= process);
                after.insert(place, process);
            }
            MutexOp::Release(process) => {
                after.remove(holders.binary_search(&process).ok()?);
            }
            MutexOp::NotHeldAfter(process) => {
                if let Ok(place) = holders.binary_search(&process) {
                    after.remove(place);
                }
            }
        }
        Some(after)
    }

    fn woken(&self, op: &MutexOp, other: &MutexOp) -> bool {
        woken(op, other)
    }
}

//! Controls that need nothing: they prove the bench.

use std::sync::Arc;
use std::time::Duration;

use harness::engine::{BoxFuture, Mechanism, Open};

use super::contender::{Contender, Design, Proof};
use super::setting::Setting;
use crate::spec::Class;

pub(super) fn contenders() -> Vec<Contender> {
    vec![
        Contender::control(
            "noop",
            "grants after a programmed delay and excludes nothing: what it measures is the bench",
            Control(Proof::Measuring),
        ),
        Contender::control(
            "none",
            "grants at once and excludes nothing: the checks must catch it",
            Control(Proof::Checks),
        ),
    ]
}

/// Grants every step at the node where it was asked for.
#[derive(Debug)]
struct Control(Proof);

impl Design for Control {
    fn class(&self) -> Class {
        Class::Control
    }

    fn proves(&self) -> Option<Proof> {
        Some(self.0)
    }

    fn shares(&self) -> bool {
        true
    }

    fn build<'a>(&'a self, setting: &'a Setting) -> BoxFuture<'a, anyhow::Result<Arc<dyn Mechanism>>> {
        let delay = match self.0 {
            Proof::Measuring => setting.noop_delay,
            Proof::Checks => Duration::ZERO,
        };
        let open = Open::new(Arc::clone(&setting.plan), setting.clock.clone(), delay);
        Box::pin(async move { Ok(Arc::new(open) as Arc<dyn Mechanism>) })
    }
}

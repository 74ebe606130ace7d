//! Controls that need nothing: they prove the bench.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use harness::engine::{BoxFuture, Mechanism, Open, RoundTrip, Ways};

use super::contender::{Contender, Design, Proof};
use super::setting::Setting;
use crate::spec::Class;

pub(super) fn contenders() -> Vec<Contender> {
    vec![
        Contender::control(
            "noop",
            "grants after a programmed delay, and a round trip where there is one, and excludes nothing: what it measures is the bench",
            Control(Proof::Measuring),
        ),
        Contender::control(
            "none",
            "grants at once and excludes nothing: the checks must catch it",
            Control(Proof::Checks),
        ),
    ]
}

/// Grants every step at the node where it was asked for, over a link where all others have one to their server.
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
            Proof::Checks | Proof::Cost => Duration::ZERO,
        };
        let open = Open::new(Arc::clone(&setting.plan), setting.clock.clone(), delay);
        Box::pin(async move {
            let mut trips = BTreeMap::new();
            if let Some(between) = &setting.here.between {
                for node in &setting.here.nodes {
                    let ways = Ways::delayed(between.one_way);
                    let trip = RoundTrip::open(ways, setting.clock.clone()).await;
                    trips.insert(*node, trip.with_context(|| format!("the link of node {}", node.0))?);
                }
            }
            Ok(Arc::new(open.over(trips)) as Arc<dyn Mechanism>)
        })
    }
}

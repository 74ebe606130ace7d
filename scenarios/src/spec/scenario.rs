//! A scenario with the text that it came from, and what follows from its fields.

use harness::engine::Ways;
use harness::model::LinkTo;
use harness::record::CellValues;

use super::error::SpecError;
use super::expect::{Class, ExpectSpec, Foretold};
use super::faults::VerbSpec;
use super::fields::ScenarioSpec;

/// A scenario with the text that it came from, for messages and for the record.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The parsed text.
    pub spec: ScenarioSpec,
    /// The text as it will run, with every `--set` in it.
    pub text: String,
    /// Where it came from.
    pub origin: String,
    /// Its place in a sweep; empty where it is none of one.
    pub cell: CellValues,
}

impl Scenario {
    /// An error at the place of a spanned value.
    #[must_use]
    pub fn error_at(&self, span: std::ops::Range<usize>, what: impl Into<String>) -> SpecError {
        SpecError::at(&self.origin, &self.text, span.start, what)
    }

    /// An error at the first line that sets a key.
    #[must_use]
    pub fn error_of(&self, key: &str, what: impl Into<String>) -> SpecError {
        let sets = |line: &&str| {
            line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
        };
        let start = self
            .text
            .lines()
            .find(sets)
            .map_or(0, |line| line.as_ptr() as usize - self.text.as_ptr() as usize);
        self.error_at(start..start, format!("`{key}`: {}", what.into()))
    }

    /// The same at another rate, for a probe: what the load grows, resources that go with it grow too, and nothing is too much.
    /// The window is long enough for the tasks that the service level asks for.
    #[must_use]
    pub fn at_rate(&self, rate_per_s: f64) -> Self {
        let mut scenario = self.clone();
        let spec = &mut scenario.spec;
        let tasks = f64::from(spec.service_level.tasks);
        // Arrivals vary by the square root of their number; four times that is never missed.
        let needed_s = (tasks + 4.0 * tasks.sqrt()) / rate_per_s;
        spec.duration_s = Some(spec.duration_s.unwrap_or(0.0).max(needed_s));
        spec.rate_per_s = Some(rate_per_s);
        spec.saturating = true;
        scenario
    }

    /// How links to servers, and between nodes of the ring, are where they are in the path: of all contenders or of none.
    /// One way takes half a round trip.
    #[must_use]
    pub fn links(&self) -> Option<Ways> {
        // A copy that is promoted is reached where its primary was.
        let turned = self.spec.faults.iter().any(|fault| fault.verb == VerbSpec::Promote);
        let broken = turned || self.breaks_links(LinkTo::Server) || self.breaks_links(LinkTo::Nodes);
        (self.spec.rtt_ms > 0.0 || broken).then(|| self.delayed())
    }

    /// How links to the agent are where they are in the path: where it is in another process.
    #[must_use]
    pub fn agent_links(&self) -> Option<Ways> {
        let far = self.spec.rtt_ms > 0.0 && self.spec.placement.is_of_processes();
        (far || self.breaks_links(LinkTo::Agent)).then(|| self.delayed())
    }

    fn delayed(&self) -> Ways {
        Ways::delayed(std::time::Duration::from_secs_f64(self.spec.rtt_ms / 2e3))
    }

    fn breaks_links(&self, to: LinkTo) -> bool {
        self.spec.faults.iter().any(|fault| fault.link == to && fault.fault().is_of_link())
    }

    /// What a check must answer for a contender of a class, on a server of this name and version, if that is known.
    #[must_use]
    pub fn expected(&self, check: &str, contender: &str, class: Class, version: Option<&str>) -> Foretold {
        let spec = &self.spec;
        let named = |expect: &ExpectSpec| {
            expect
                .contenders
                .as_ref()
                .is_none_or(|names| names.iter().any(|name| name.get_ref() == contender))
        };
        let fits = |expect: &&ExpectSpec| {
            expect.check.get_ref() == check
                && expect.class.is_none_or(|of| of == class)
                && named(expect)
                && expect.durability.is_none_or(|durability| durability == spec.durability)
                && expect.fencing.is_none_or(|fencing| fencing == spec.fencing)
                && expect.holder.is_none_or(|holder| holder == spec.holder)
        };
        let found = spec.expect.iter().find(fits);
        found.map_or(Foretold::HOLDS, |expect| expect.of(version))
    }
}

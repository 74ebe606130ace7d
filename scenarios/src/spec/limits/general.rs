//! Sizes and switches of a scenario as a whole.

use harness::engine::WhenBusy;
use harness::model::EntryPolicy;

use crate::spec::error::{SpecError, Wrong, within};
use crate::spec::load::SHAPES;
use crate::spec::placement::Placement;
use crate::spec::scenario::Scenario;

pub(super) fn general(scenario: &Scenario) -> Result<(), SpecError> {
    let spec = &scenario.spec;
    let at_field = |Wrong { key, what }: Wrong| scenario.error_of(key, what);
    match spec.load() {
        Some(load) => load.validate().map_err(at_field)?,
        None => {
            let fields: Vec<_> = SHAPES.iter().map(|shape| shape.fields).collect();
            let what = format!("the scenario needs either {}", fields.join(", or "));
            return Err(scenario.error_of("name", what));
        }
    }
    if !(1..=1000).contains(&spec.nodes) {
        return Err(scenario.error_of("nodes", "must be from 1 to 1000"));
    }
    if !(1..=1000).contains(&spec.blocks) {
        return Err(scenario.error_of("blocks", "must be from 1 to 1000"));
    }
    const HOUR_MS: f64 = 3_600_000.0;
    for (key, value, least, most) in [
        ("deadline_ms", spec.deadline_ms, 0.001, 24.0 * HOUR_MS),
        ("detect_ms", spec.detect_ms, 1.0, HOUR_MS),
        ("time_scale", spec.time_scale, 1e-3, 1e6),
        ("warm_up_s", spec.warm_up_s, 0.0, 3_600.0),
        ("noop_delay_ms", spec.noop_delay_ms, 0.0, HOUR_MS),
        ("rtt_ms", spec.rtt_ms, 0.0, HOUR_MS),
        ("hold_ms", spec.hold_ms.unwrap_or(0.0), 0.0, HOUR_MS),
        ("p99_ms", spec.service_level.p99_ms, 0.1, HOUR_MS),
        ("completed", spec.service_level.completed, 0.01, 1.0),
        ("tasks", f64::from(spec.service_level.tasks), 100.0, 1e6),
        ("server_hour", spec.prices.server_hour.unwrap_or(0.0), 0.0, 1e6),
        ("core_hour", spec.prices.core_hour.unwrap_or(0.0), 0.0, 1e6),
        ("million_requests", spec.prices.million_requests.unwrap_or(0.0), 0.0, 1e6),
    ] {
        within(key, value, least, most).map_err(at_field)?;
    }
    for (name, server) in &spec.servers {
        server.validate(name).map_err(|what| scenario.error_of("url", format!("servers.{name}: {what}")))?;
    }
    let otherwise = spec.rate_per_s.is_some() || spec.burst.is_some() || spec.arrivals.is_some();
    if spec.tick_every_s.is_some() && otherwise {
        let what = "a scheduled job comes with its ticks: leave rate_per_s, burst and arrivals out";
        return Err(scenario.error_of("tick_every_s", what));
    }
    if !spec.clocks_ms.is_empty() && spec.tick_every_s.is_none() {
        return Err(scenario.error_of("clocks_ms", "is for scheduled jobs, which have tick_every_s"));
    }
    if spec.entry != EntryPolicy::Sticky && spec.load().is_some_and(|load| load.closed().is_some()) {
        let what = "callers of a closed loop stay with their node, and nothing is broken in one: set `entry = \"sticky\"`";
        return Err(scenario.error_of("entry", what));
    }
    if spec.placement == Placement::Remote && (scenario.links().is_some() || scenario.agent_links().is_some())
    {
        let key = if spec.rtt_ms > 0.0 { "rtt_ms" } else { "faults" };
        let what = "links of nodes on other machines are as they are: nothing here lies between that could slow or break them; leave \
                    rtt_ms and faults of links out, or set `placement = \"process\"`";
        return Err(scenario.error_of(key, what));
    }
    if spec.fencing && spec.when_busy == WhenBusy::Serialise {
        return Err(scenario.error_of(
            "when_busy",
            "`serialise` and `fencing = true` exclude each other: a higher token could not supersede the section \
             that it waits for; use `refuse` or `admit`, or drop fencing",
        ));
    }
    Ok(())
}

//! Whether the machine stayed what it was while a run lasted: its clock, its processors, and whether it held anybody back.
//! Where it did not, figures are of two machines, or of none.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The machine at one moment, as far as a run depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Steadiness {
    monotonic: Duration,
    /// The clock on the wall, which is set now and then.
    wall: Duration,
    /// Goes on while the machine is suspended, as the monotonic one does not.
    boot: Duration,
    /// Processors that are there, and those that this process may use.
    processors: [String; 2],
    /// How the first of them chooses its frequency.
    governor: String,
    /// For how long the limit of our container held it back.
    throttled: Duration,
    /// How often a processor was too hot.
    too_hot: u64,
}

/// Time that the wall clock may gain or lose by being slewed: the most that the kernel does is 500 millionths.
const SLEWED: f64 = 600e-6;

/// What two looks at several clocks cannot tell apart.
const APART: Duration = Duration::from_millis(10);

/// The share of a run that a limit may hold its container back.
const MOST_THROTTLED: f64 = 0.01;

impl Steadiness {
    /// Looks now; it costs some ten reads of small files.
    pub(crate) fn now() -> Self {
        let clock = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
        Self {
            monotonic: clock(ClockId::CLOCK_MONOTONIC),
            wall: clock(ClockId::CLOCK_REALTIME),
            boot: clock(ClockId::CLOCK_BOOTTIME),
            processors: [text("/sys/devices/system/cpu/online"), allowed()],
            governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            throttled: throttled(),
            too_hot: too_hot(),
        }
    }

    /// What is no longer as it was: one sentence each, with what to do.
    pub(crate) fn changed_since(&self, before: &Self) -> Vec<String> {
        let mut changed = Vec::new();
        let passed = self.monotonic.saturating_sub(before.monotonic);
        let suspended = self.boot.saturating_sub(before.boot).saturating_sub(passed);
        if suspended > APART {
            changed.push(format!(
                "the machine was suspended for {suspended:.1?} during the run: keep it awake and run it again"
            ));
        }
        let wall = self.wall.as_secs_f64() - before.wall.as_secs_f64();
        let stepped = wall - (passed + suspended).as_secs_f64();
        if stepped.abs() > APART.as_secs_f64() + passed.as_secs_f64() * SLEWED {
            changed.push(format!(
                "the clock of the machine was set by {stepped:+.3} s during the run, and servers time their leases by it: stop what \
                 sets it, or wait until it is in step, and run it again"
            ));
        }
        for (what, before, now) in [
            ("the processors of the machine", &before.processors[0], &self.processors[0]),
            ("the processors that this process may use", &before.processors[1], &self.processors[1]),
            ("the governor of the processors", &before.governor, &self.governor),
        ] {
            if before != now {
                changed.push(format!(
                    "{what} changed from {before} to {now} during the run: leave the machine alone and run it again"
                ));
            }
        }
        let held_back = self.throttled.saturating_sub(before.throttled);
        if held_back.as_secs_f64() > passed.as_secs_f64() * MOST_THROTTLED {
            changed.push(format!(
                "the limit of the container held it back for {held_back:.1?} of {passed:.1?}: raise its limit of processor time, or lower \
                 the load"
            ));
        }
        if self.too_hot > before.too_hot {
            changed.push(format!(
                "processors were slowed down {} times because they were too hot: cool the machine and run it again",
                self.too_hot - before.too_hot
            ));
        }
        changed
    }
}

/// A small file without its line feed; nothing where there is none.
fn text(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Of the main thread; threads that are pinned to processors of their own are not asked.
fn allowed() -> String {
    let status = text("/proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.map(|list| list.trim().to_owned()).unwrap_or_default()
}

/// Of our group, in either version of control groups; zero where there is no limit.
fn throttled() -> Duration {
    let groups = text("/proc/self/cgroup");
    let path = |controllers: &str| {
        let fields = groups.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
        let has = |listed: &str| match controllers {
            "" => listed.is_empty(),
            one => listed.split(',').any(|listed| listed == one),
        };
        fields
            .filter(|fields| fields.len() == 3)
            .find(|fields| has(fields[1]))
            .map(|fields| fields[2].to_owned())
    };
    let second = path("").map(|path| text(&format!("/sys/fs/cgroup{path}/cpu.stat")));
    let first = path("cpu").map(|path| text(&format!("/sys/fs/cgroup/cpu{path}/cpu.stat")));
    [second, first].into_iter().flatten().map(|stat| throttled_of(&stat)).max().unwrap_or_default()
}

fn throttled_of(stat: &str) -> Duration {
    let of = |name: &str| {
        let value = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse::<u64>().ok())
    };
    let second = of("throttled_usec").map(Duration::from_micros);
    second.or_else(|| of("throttled_time").map(Duration::from_nanos)).unwrap_or_default()
}

fn too_hot() -> u64 {
    let Ok(all) = fs::read_dir("/sys/devices/system/cpu") else { return 0 };
    let counts = all.flatten().filter_map(|entry| {
        let count = entry.path().join("thermal_throttle/core_throttle_count");
        fs::read_to_string(count).ok()?.trim().parse::<u64>().ok()
    });
    counts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which nothing happens, after so many seconds.
    fn after(seconds: u64) -> Steadiness {
        let at = |origin: u64| Duration::from_secs(origin + seconds);
        Steadiness {
            monotonic: at(0),
            wall: at(1_780_000_000),
            boot: at(5),
            processors: ["0-3".to_owned(), "0-3".to_owned()],
            governor: "performance".to_owned(),
            throttled: Duration::ZERO,
            too_hot: 2,
        }
    }

    fn told(change: impl FnOnce(&mut Steadiness)) -> Vec<String> {
        let (before, mut now) = (after(100), after(110));
        change(&mut now);
        now.changed_since(&before)
    }

    #[test]
    fn a_clock_that_is_set_is_told_from_one_that_is_slewed() {
        assert_eq!(told(|_| ()), Vec::<String>::new());
        assert_eq!(
            told(|now| now.wall += Duration::from_millis(5)),
            Vec::<String>::new(),
            "500 millionths of 10 s"
        );
        assert!(told(|now| now.wall += Duration::from_millis(100))[0].contains("set by +0.100 s"));
        assert!(told(|now| now.wall -= Duration::from_secs(3600))[0].contains("set by -3600.000 s"));
    }

    #[test]
    fn a_machine_that_slept_has_not_had_its_clock_set() {
        let slept = told(|now| {
            now.wall += Duration::from_secs(60);
            now.boot += Duration::from_secs(60);
        });
        assert_eq!(slept.len(), 1, "{slept:?}");
        assert!(slept[0].contains("suspended for 60.0s"), "{slept:?}");
    }

    #[test]
    fn other_processors_or_another_governor_are_another_machine() {
        assert!(
            told(|now| now.processors[0] = "0-1".to_owned())[0]
                .contains("of the machine changed from 0-3 to 0-1")
        );
        assert!(told(|now| now.processors[1] = "0".to_owned())[0].contains("may use changed from 0-3 to 0"));
        assert!(told(|now| now.governor = "powersave".to_owned())[0].contains("governor"));
    }

    #[test]
    fn whoever_was_held_back_by_a_limit_or_by_heat_says_so() {
        assert_eq!(
            told(|now| now.throttled = Duration::from_millis(90)),
            Vec::<String>::new(),
            "less than 1 %"
        );
        assert!(
            told(|now| now.throttled = Duration::from_millis(200))[0]
                .contains("held it back for 200.0ms of 10.0s")
        );
        assert!(told(|now| now.too_hot = 5)[0].contains("slowed down 3 times"));
    }

    #[test]
    fn both_versions_of_control_groups_are_read() {
        let second = "usage_usec 5\nnr_periods 4\nnr_throttled 2\nthrottled_usec 1500\n";
        assert_eq!(throttled_of(second), Duration::from_micros(1500));
        assert_eq!(
            throttled_of("nr_periods 4\nnr_throttled 2\nthrottled_time 1500\n"),
            Duration::from_nanos(1500)
        );
        assert_eq!(throttled_of("usage_usec 5\n"), Duration::ZERO);
    }

    #[test]
    fn this_machine_is_seen() {
        let now = Steadiness::now();
        assert!(!now.processors[0].is_empty() && !now.processors[1].is_empty(), "{now:?}");
        assert!(now.boot >= now.monotonic);
    }
}

//! Shapes of load: when tasks arrive. One file a shape, one line in [`SHAPES`].

mod shape;

mod burst;
mod bursts;
mod poisson;
mod constant;
mod varying;
mod recorded;
mod closed;
mod ticks;

pub use self::poisson::Poisson;
pub use self::shape::{Load, Shape, Start};

/// Every shape of load.
pub const SHAPES: &[Shape] = &[
    poisson::SHAPE,
    constant::SHAPE,
    varying::SHAPE,
    recorded::SHAPE,
    burst::SHAPE,
    bursts::SHAPE,
    closed::SHAPE,
    ticks::SHAPE,
];

impl super::fields::ScenarioSpec {
    /// When tasks arrive; `None` where the fields do not go together.
    #[must_use]
    pub fn load(&self) -> Option<Box<dyn Load>> {
        SHAPES.iter().find_map(|shape| (shape.asked)(self))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn every_shape_is_registered() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/spec/load");
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let shapes = paths.filter(|path| {
            std::fs::read_to_string(path).unwrap().contains("\npub(super) const SHAPE: Shape")
        });
        assert_eq!(shapes.count(), SHAPES.len());
    }

    /// How many tasks arrive in each quarter of the window.
    fn quarters(settings: &[(&str, &str)]) -> [usize; 4] {
        let settings: Vec<_> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let text = crate::catalog::ALL.iter().find(|(name, _)| *name == "capacity-spread").unwrap().1;
        let text = text.replace("rate_per_s = 1000.0\n", "");
        let scenario = crate::spec::Scenario::parse("mine.toml", &text, &settings).unwrap();
        let load = scenario.spec.load().unwrap();
        let window_ns = load.window_ns();
        let mut counts = [0; 4];
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let mut last_ns = 0;
        for start in load.starts(&mut rng) {
            assert!(start.at_ns >= last_ns && start.at_ns < window_ns);
            last_ns = start.at_ns;
            counts[(4 * start.at_ns / window_ns) as usize] += 1;
        }
        counts
    }

    #[test]
    fn a_rate_may_be_even_rise_swing_or_go_in_steps() {
        let (rate, window) = (("rate_per_s", "1000.0"), ("duration_s", "8.0"));
        let near = |count: usize, expected: f64| (count as f64 / expected - 1.0).abs() < 0.1;
        assert_eq!(quarters(&[rate, window, ("arrivals", "{ shape = \"constant\" }")]), [2_000; 4]);
        let ramp = quarters(&[rate, window, ("arrivals", "{ shape = \"ramp\", to_per_s = 5000.0 }")]);
        assert!(near(ramp[0], 3_000.0) && near(ramp[3], 9_000.0), "{ramp:?}");
        let sine =
            quarters(&[rate, window, ("arrivals", "{ shape = \"sine\", swing = 1.0, period_s = 8.0 }")]);
        // 1 + 2/π and 1 − 2/π.
        assert!(near(sine[0], 3_273.0) && near(sine[2], 727.0), "{sine:?}");
        let steps = quarters(&[
            window,
            ("arrivals", "{ shape = \"steps\", rates_per_s = [100.0, 0.0, 800.0, 400.0] }"),
        ]);
        assert!(near(steps[0], 200.0) && steps[1] == 0 && near(steps[2], 1_600.0), "{steps:?}");
    }

    #[test]
    fn every_node_sees_every_tick_by_its_own_clock() {
        let text = crate::catalog::ALL.iter().find(|(name, _)| *name == "scheduled-job").unwrap().1;
        let settings = [("tick_every_s", "0.5"), ("duration_s", "2.0"), ("clocks_ms", "[0.0, 20.0, 700.0]")];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let scenario = crate::spec::Scenario::parse("mine.toml", text, &settings).unwrap();
        let load = scenario.spec.load().unwrap();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let starts = load.starts(&mut rng).map(|start| (start.at_ns / 1_000_000, start.turn, start.entry));
        let seen: Vec<_> = starts.map(|(ms, turn, node)| (ms, turn.unwrap(), node.unwrap())).collect();
        assert_eq!(
            seen[..7],
            [(0, 0, 0), (20, 0, 1), (500, 1, 0), (520, 1, 1), (700, 0, 2), (1_000, 2, 0), (1_020, 2, 1)]
        );
        let far = [("clocks_ms".to_owned(), "[0.0, 0.0, 0.0, 0.0]".to_owned())];
        let error = crate::spec::Scenario::parse("mine.toml", text, &far).unwrap_err().to_string();
        assert!(error.contains("`clocks_ms`: has 4 clocks for 3 nodes"), "{error}");
    }

    #[test]
    fn callers_of_a_closed_loop_know_one_node() {
        let settings = [("rate_per_s", ""), ("duration_s", "2.0"), ("faults", "[]")];
        let callers = ("arrivals", "{ shape = \"closed\", callers = 6 }");
        let tried = |entry: &str| {
            let settings = settings.into_iter().chain([callers, ("entry", entry)]);
            let settings: Vec<_> = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            crate::catalog::load("transfer", &settings).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(tried("sticky"), Ok(()));
        for entry in ["any", "failover"] {
            let error = tried(entry).unwrap_err();
            assert!(error.contains("`entry`: callers of a closed loop stay with their node"), "{error}");
        }
    }

    #[test]
    fn recorded_tasks_arrive_when_they_did_and_a_bad_file_is_told_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("arrivals.csv");
        let arrivals = format!("{{ shape = \"recorded\", file = {:?} }}", path.to_str().unwrap());
        std::fs::write(&path, "time,what\n1700000000.5,a\n1700000001.0,b\n1700000003.9,c\n1700000004.4,d\n")
            .unwrap();
        assert_eq!(quarters(&[("duration_s", "4.0"), ("arrivals", &arrivals)]), [2, 0, 0, 2]);
        std::fs::write(&path, "0.5\nlater\n").unwrap();
        let text = crate::catalog::ALL.iter().find(|(name, _)| *name == "capacity-spread").unwrap().1;
        let text = text.replace("rate_per_s = 1000.0\n", "");
        let error = crate::spec::Scenario::parse("mine.toml", &text, &[("arrivals".to_owned(), arrivals)]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("arrivals.csv, line 2: `later` is no time"), "{error}");
    }
}

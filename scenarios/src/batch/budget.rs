//! What a budget of time allows of a batch that looks for capacities: how many blocks are to be expected, and after which it ends.

use std::time::Duration;

/// Blocks without which there is no interval, and nothing is compared.
pub(super) const LEAST_BLOCKS: u32 = 3;

/// How much longer than its budget, as a part of it, a batch may take for the block that gives it an interval: without one all that
/// was spent would compare nothing.
const FOR_AN_INTERVAL: f64 = 0.1;

/// Probes of a search, about: it doubles until one is missed, halves until 5 % are left, and looks at its end twice. A ceiling is
/// told less exactly.
const PROBES_OF_A_SEARCH: f64 = 10.0;
const PROBES_OF_A_CEILING: f64 = 6.0;

/// Probes of a contender in a later block, about.
const PROBES_OF_A_BLOCK: f64 = 4.0;

/// Of a probe beside its window and its warm-up, about.
const AROUND_A_PROBE_S: f64 = 1.0;

/// How much faster than at the scenario's rate tasks arrive in a probe, about.
const FASTER: f64 = 2.0;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub(super) given: Duration,
    /// Blocks that are wanted.
    pub(super) blocks: u32,
    /// How many are compared, and how many ceilings there are.
    pub(super) compared: usize,
    pub(super) ceilings: usize,
    /// How many runs at the common rate the first block has, and how many a later one.
    pub(super) runs_of_the_first: usize,
    pub(super) runs_of_a_block: usize,
    /// In how many seconds the least number of tasks arrives at the scenario's rate: no run is shorter.
    pub(super) least_tasks_s: f64,
}

impl Budget {
    /// What the search takes, and each block after it, about, in seconds.
    fn takes_s(&self, window_s: f64, warm_up_s: f64) -> (f64, f64) {
        let around_s = warm_up_s + AROUND_A_PROBE_S;
        let probe_s = |window_s: f64| window_s.max(self.least_tasks_s / FASTER) + around_s;
        let run_s = window_s.max(self.least_tasks_s) + around_s;
        let (compared, ceilings) = (self.compared as f64, self.ceilings as f64);
        // Probes are brief until one is missed, which most of a search is.
        let probes = PROBES_OF_A_SEARCH * compared + PROBES_OF_A_CEILING * ceilings;
        let search_s = probes * probe_s(window_s / 2.0) + self.runs_of_the_first as f64 * run_s;
        let block_s = PROBES_OF_A_BLOCK * compared * probe_s(window_s) + self.runs_of_a_block as f64 * run_s;
        (search_s, block_s)
    }

    /// How many turns a block has that is not the first, about.
    pub(super) fn turns_of_a_block(&self) -> f64 {
        PROBES_OF_A_BLOCK * self.compared as f64 + self.runs_of_a_block as f64
    }

    /// What so many blocks take, about, in seconds.
    pub(super) fn blocks_s(&self, blocks: u32, window_s: f64, warm_up_s: f64) -> f64 {
        let (search_s, block_s) = self.takes_s(window_s, warm_up_s);
        search_s + block_s * f64::from(blocks - 1)
    }

    /// What is to be expected of it, before the first run. How long a server takes to start and where the searches end is not known yet,
    /// so that this is only about so.
    pub(super) fn foreseen(&self, window_s: f64, warm_up_s: f64) -> String {
        let (search_s, block_s) = self.takes_s(window_s, warm_up_s);
        let given_s = self.given.as_secs_f64();
        let fit = 1 + ((given_s - search_s).max(0.0) / block_s.max(1e-3)) as u32;
        let fit = fit.min(self.blocks);
        let whole = format!(
            "a budget of {given_s:.0} s: the search, which comes first, takes about {search_s:.0} s, each block after it about {block_s:.0} s"
        );
        let least_s = self.blocks_s(LEAST_BLOCKS, window_s, warm_up_s);
        match fit {
            fit if fit == self.blocks => format!("{whole}, so that all {fit} should fit"),
            fit if fit >= LEAST_BLOCKS => {
                format!("{whole}, so that about {fit} of {} blocks fit: intervals are wider", self.blocks)
            }
            fit => {
                let first =
                    if given_s < search_s { "not even that fits, and it is made all the same; " } else { "" };
                format!(
                    "{whole}: {first}about {fit} of {} blocks fit, so that there will be no interval, and nothing is compared. Three blocks take \
                     about {least_s:.0} s; fewer contenders or a shorter --duration take less",
                    self.blocks
                )
            }
        }
    }

    /// After a block, with so many turns in so many seconds: how much is left, or why it ends here.
    ///
    /// # Errors
    /// When the next block would probably end later, by more than a tenth where it gives the interval.
    pub(super) fn allows_another(&self, block: u32, turns: u32, spent_s: f64) -> Result<String, String> {
        let needed_s = spent_s / f64::from(turns.max(1)) * self.turns_of_a_block();
        let given_s = self.given.as_secs_f64();
        let more_s = if block + 1 == LEAST_BLOCKS { given_s * FOR_AN_INTERVAL } else { 0.0 };
        if spent_s + needed_s <= given_s + more_s {
            return Ok(format!("{:.0} s left of the budget", given_s - spent_s));
        }
        let without = match block < LEAST_BLOCKS {
            true => ": too few for an interval, and nothing is compared",
            false => "",
        };
        Err(format!(
            "the budget ends here, after {block} of {} blocks{without} ({spent_s:.0} s of {given_s:.0} s are spent, and a block takes about \
             {needed_s:.0} s)",
            self.blocks
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That of `make demo`: eight searched, five of them compared, and one that must be caught.
    fn demo(given_s: u64) -> Budget {
        let given = Duration::from_secs(given_s);
        let (compared, ceilings, runs_of_the_first, runs_of_a_block) = (5, 3, 9, 7);
        Budget {
            given,
            blocks: 6,
            compared,
            ceilings,
            runs_of_the_first,
            runs_of_a_block,
            least_tasks_s: 1.0,
        }
    }

    #[test]
    fn what_does_not_fit_is_told_before_anything_runs() {
        let foreseen = |given_s| demo(given_s).foreseen(1.5, 0.3);
        assert!(foreseen(600).ends_with("all 6 should fit"), "{}", foreseen(600));
        let some = foreseen(350);
        assert!(some.contains("takes about 165 s, each block after it about 76 s"), "{some}");
        assert!(some.contains("about 3 of 6 blocks fit"), "{some}");
        let few = foreseen(250);
        assert!(
            few.contains("2 of 6 blocks fit, so that there will be no interval") && few.contains("316 s"),
            "{few}"
        );
        assert!(foreseen(90).contains("not even that fits"), "{}", foreseen(90));
    }

    #[test]
    fn where_tasks_come_slowly_no_run_is_shorter_than_so_many_of_them_take() {
        let slow = Budget { least_tasks_s: 4.5, ..demo(600) };
        assert!(slow.blocks_s(LEAST_BLOCKS, 1.5, 0.3) > demo(600).blocks_s(LEAST_BLOCKS, 1.5, 0.3) * 1.5);
        assert!(
            (slow.blocks_s(LEAST_BLOCKS, 0.5, 0.3) - slow.blocks_s(LEAST_BLOCKS, 1.5, 0.3)).abs() < 1e-6,
            "all last as long as the tasks take"
        );
    }

    #[test]
    fn a_block_begins_only_where_it_probably_ends_within_the_budget() {
        // A search of 80 turns in 160 s: a block of 27 takes 54.
        assert_eq!(demo(220).allows_another(1, 80, 160.0), Ok("60 s left of the budget".to_owned()));
        // The third may take a little more, since nothing is compared without it.
        assert!(demo(200).allows_another(2, 80, 160.0).is_ok(), "214 of 200 s");
        assert!(demo(190).allows_another(2, 80, 160.0).is_err(), "214 of 190 s");
        assert!(demo(200).allows_another(3, 80, 160.0).is_err());
        let over = demo(200).allows_another(1, 80, 160.0).unwrap_err();
        assert!(
            over.starts_with("the budget ends here, after 1 of 6 blocks: too few for an interval"),
            "{over}"
        );
        let enough = demo(200).allows_another(3, 100, 199.0).unwrap_err();
        assert!(enough.starts_with("the budget ends here, after 3 of 6 blocks (199 s of 200 s"), "{enough}");
    }
}

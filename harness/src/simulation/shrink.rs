//! The least of a plan that still shows what the whole of it shows.

use crate::model::Plan;

/// What is kept of a plan, by place, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Of its tasks.
    pub tasks: Vec<usize>,
    /// Of its faults.
    pub faults: Vec<usize>,
}

impl Kept {
    /// All of it.
    #[must_use]
    pub fn all(plan: &Plan) -> Self {
        Self { tasks: (0..plan.tasks.len()).collect(), faults: (0..plan.faults.len()).collect() }
    }

    /// That part of a plan. What it does not have is left out.
    #[must_use]
    pub fn of(&self, plan: &Plan) -> Plan {
        let tasks = self.tasks.iter().filter_map(|task| plan.tasks.get(*task));
        let faults = self.faults.iter().filter_map(|fault| plan.faults.get(*fault));
        Plan {
            tasks: tasks.map(|task| task.to_task()).collect(),
            faults: faults.copied().collect(),
            ..plan.clone()
        }
    }
}

/// The fewest tasks and faults that still fail: whatever is left of them, without any one it does not. After so many tries, as few as
/// were found by then. Whoever fails with all of `kept` must be asked for.
pub fn shrink(kept: Kept, tries: usize, mut fails: impl FnMut(&Kept) -> bool) -> Kept {
    let mut left = tries;
    let mut kept = kept;
    loop {
        let before = kept.clone();
        let Kept { tasks, faults } = kept;
        let tasks =
            fewest(tasks, &mut left, |tasks| fails(&Kept { tasks: tasks.to_vec(), faults: faults.clone() }));
        let faults = fewest(faults, &mut left, |faults| {
            fails(&Kept { tasks: tasks.clone(), faults: faults.to_vec() })
        });
        kept = Kept { tasks, faults };
        // What one could not do without may be of no use without the other.
        if kept == before || left == 0 {
            return kept;
        }
    }
}

/// Leaves out half of them, a quarter, and so on to one by one, whatever it fails without.
fn fewest(mut all: Vec<usize>, left: &mut usize, mut fails: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut chunk = all.len();
    while chunk > 0 {
        let mut from = 0;
        while from < all.len() && *left > 0 {
            let without = [&all[..from], &all[all.len().min(from + chunk)..]].concat();
            *left -= 1;
            if fails(&without) {
                all = without;
            } else {
                from += chunk;
            }
        }
        chunk /= 2;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Kept {
        Kept { tasks: (0..1_000).collect(), faults: (0..9).collect() }
    }

    #[test]
    fn what_is_left_fails_and_no_less_of_it() {
        let mut asked = 0;
        let least = shrink(whole(), 10_000, |kept| {
            asked += 1;
            kept.tasks.contains(&17) && kept.tasks.contains(&903) && kept.faults.contains(&4)
        });
        assert_eq!(least, Kept { tasks: vec![17, 903], faults: vec![4] });
        // Ten halvings, of which each leaves out next to nothing but where the two are.
        assert!(asked < 100, "{asked}");
    }

    #[test]
    fn what_needs_nothing_keeps_nothing_and_tries_are_counted() {
        assert_eq!(shrink(whole(), 10_000, |_| true), Kept { tasks: vec![], faults: vec![] });
        let mut asked = 0;
        let kept = shrink(whole(), 7, |_| {
            asked += 1;
            false
        });
        assert_eq!((kept, asked), (whole(), 7));
    }
}

//! Where one overtakes another, in words.

use harness::record::{Better, Metric};

use super::crossing::crossings;
use super::map::Sides;
use super::told::{Side, Told};

/// A sentence for each metric, other contender and value of the axis that does not run along.
pub(super) fn sentences(told: &Told<'_>) -> Vec<String> {
    let Some(reference) = told.reference else { return Vec::new() };
    let sides = Sides::of(told.sweep);
    let mut all = Vec::new();
    for (at, metric) in told.metrics.iter().enumerate() {
        for (other, own) in told.others.iter().enumerate() {
            for row in &sides.rows {
                let crosses: Vec<String> = crossings(told, at, &sides, row)
                    .iter()
                    .filter(|cross| cross.other == *own)
                    .map(|cross| cross.words(metric))
                    .collect();
                let crosses = match crosses.is_empty() {
                    true => String::new(),
                    false => format!("; the means cross {}", crosses.join(", and ")),
                };
                let answers: Vec<Side> = row
                    .cells
                    .iter()
                    .map(|cell| cell.map_or(Side::Untold, |cell| told.side(cell, other, at)))
                    .collect();
                let across = match &sides.row_field {
                    Some(field) => format!(" ({field} = {})", row.value),
                    None => String::new(),
                };
                let pair = Pair { own, reference, metric };
                let course = pair.course(&sides.field, &sides.columns, &answers);
                all.push(format!("{course}{crosses}{across}."));
            }
        }
    }
    all
}

/// Two contenders and what they are compared by.
struct Pair<'a> {
    own: &'a str,
    reference: &'a str,
    metric: &'a Metric,
}

impl Pair<'_> {
    /// What happens along a field.
    fn course(&self, field: &str, values: &[String], answers: &[Side]) -> String {
        let is = |side: Side| move |answer: &&Side| **answer == side;
        for side in [Side::Own, Side::Reference] {
            let tail = answers.iter().rev().take_while(is(side)).count();
            if tail == 0 {
                continue;
            }
            let better = self.better(side);
            let from = answers.len() - tail;
            if from == 0 {
                return format!("{better} whatever {field} is");
            }
            let opposite = if side == Side::Own { Side::Reference } else { Side::Own };
            let head = answers.iter().take_while(is(opposite)).count();
            let before = match (head, from) {
                (0, _) => ", and below that it cannot be told or is the same".to_owned(),
                (head, from) if head == from => {
                    format!("; up to {field} = {} it is the other way round", values[head - 1])
                }
                (head, _) => {
                    format!(
                        "; up to {field} = {} it is the other way round, and between it cannot be told or is the same",
                        values[head - 1]
                    )
                }
            };
            // Somebody who was ahead, and again behind, has no single place of crossing.
            let steady = answers[head..from].iter().all(|answer| matches!(answer, Side::Same | Side::Untold));
            if steady {
                return format!("{better} from {field} = {} on{before}", values[from]);
            }
        }
        let at = |side: Side| {
            let places = answers.iter().zip(values).filter(|(answer, _)| **answer == side);
            places.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ")
        };
        let each = [Side::Own, Side::Reference].map(|side| (side, at(side)));
        let told: Vec<String> = each
            .iter()
            .filter(|(_, at)| !at.is_empty())
            .map(|(side, at)| format!("{} at {field} = {at}", self.better(*side)))
            .collect();
        match (told.is_empty(), answers.iter().all(|answer| *answer == Side::Same)) {
            (false, _) => format!("{}; nowhere else is a difference told", told.join("; ")),
            (true, true) => {
                format!(
                    "{} and {} have the same {} whatever {field} is",
                    self.own,
                    self.reference,
                    self.title()
                )
            }
            (true, false) => {
                format!(
                    "no difference in {} between {} and {} is told, whatever {field} is",
                    self.title(),
                    self.own,
                    self.reference
                )
            }
        }
    }

    /// Who is better, and in what.
    fn better(&self, side: Side) -> String {
        let (better, other) =
            if side == Side::Own { (self.own, self.reference) } else { (self.reference, self.own) };
        let how = match (self.metric.name, self.metric.better) {
            ("capacity", _) => "carries more than".to_owned(),
            (_, Better::More) => format!("has a higher {} than", self.title()),
            (_, Better::Less) => format!("has a lower {} than", self.title()),
        };
        format!("{better} {how} {other}")
    }

    fn title(&self) -> String {
        self.metric.title.to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Side::{Own, Reference, Same, Untold};

    fn course(metric: &str, answers: &[Side]) -> String {
        let values: Vec<String> = ["1", "3", "5", "9"].map(str::to_owned)[..answers.len()].to_vec();
        let metric = Metric::named(metric).unwrap();
        Pair { own: "ring-queue", reference: "redis-fenced", metric }.course("nodes", &values, answers)
    }

    #[test]
    fn where_one_overtakes_the_other_is_told_and_nothing_that_is_not_shown() {
        assert_eq!(
            course("capacity", &[Own; 4]),
            "ring-queue carries more than redis-fenced whatever nodes is"
        );
        assert_eq!(
            course("capacity", &[Reference, Reference, Own, Own]),
            "ring-queue carries more than redis-fenced from nodes = 5 on; up to nodes = 3 it is the other way round"
        );
        assert_eq!(
            course("capacity", &[Untold, Same, Own]),
            "ring-queue carries more than redis-fenced from nodes = 5 on, and below that it cannot be told or is the same"
        );
        assert_eq!(
            course("wait_p50", &[Own, Untold, Reference]),
            "redis-fenced has a lower wait p50 than ring-queue from nodes = 5 on; up to nodes = 1 it is the other way round, and between it \
             cannot be told or is the same"
        );
        assert_eq!(
            course("goodput", &[Own, Reference, Own]),
            "ring-queue has a higher goodput than redis-fenced at nodes = 1, 5; redis-fenced has a higher goodput than ring-queue at nodes = \
             3; nowhere else is a difference told"
        );
        assert_eq!(
            course("capacity", &[Own, Untold]),
            "ring-queue carries more than redis-fenced at nodes = 1; nowhere else is a difference told"
        );
        assert_eq!(
            course("capacity", &[Same, Untold]),
            "no difference in capacity between ring-queue and redis-fenced is told, whatever nodes is"
        );
        assert_eq!(
            course("capacity", &[Same; 2]),
            "ring-queue and redis-fenced have the same capacity whatever nodes is"
        );
    }
}

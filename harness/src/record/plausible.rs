//! Figures that can be added up, whoever wrote them.

use serde_json::Value;

/// The greatest number of a record: no clock and no counter of a run comes to it (in nanoseconds it is 104 days), and a
/// thousand records of it can be added up.
pub const GREATEST: u64 = 1 << 53;

/// Fields that are drawn, not measured: any number.
const DRAWN: &[&str] = &["seed"];

/// The first number of a stored record that nothing can have measured, with the way to it.
#[must_use]
pub fn implausible(record: &Value) -> Option<String> {
    match record {
        Value::Number(number) => {
            let plausible = number.as_f64().is_some_and(|value| value.abs() <= GREATEST as f64);
            (!plausible).then(|| format!("{number} is no figure of a run"))
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(place, item)| implausible(item).map(|what| format!("[{place}]{what}"))),
        Value::Object(fields) => {
            fields.iter().filter(|(name, _)| !DRAWN.contains(&name.as_str())).find_map(|(name, field)| {
                implausible(field)
                    .map(|what| format!(".{name}{}{what}", if field.is_number() { ": " } else { "" }))
            })
        }
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_number_that_nothing_can_have_measured_is_told_with_its_place() {
        assert_eq!(
            implausible(&json!({ "seed": u64::MAX, "tasks": { "planned": GREATEST }, "share": -0.5 })),
            None
        );
        let what = implausible(&json!({ "faults": [{ "hits": 1 }, { "hits": u64::MAX }] })).unwrap();
        assert_eq!(what, ".faults[1].hits: 18446744073709551615 is no figure of a run");
        assert!(implausible(&json!({ "goodput_per_s": 1e300 })).is_some());
    }
}

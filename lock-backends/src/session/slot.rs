//! Names of the slots of a key whose level is above 1.

/// The name of one slot of a key. No other key has it: names reach a backend with each `#` doubled.
#[must_use]
pub fn slot_key(key: &str, slot: u32) -> String {
    format!("{key}#{slot}")
}

/// The key and slot of a name made by [`slot_key`]; of a key of level 1 the name itself.
#[must_use]
pub fn split_slot(name: &str) -> (&str, Option<u32>) {
    let key = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let hashes = key.len() - key.trim_end_matches('#').len();
    match (name[key.len()..].parse(), hashes % 2) {
        (Ok(slot), 1) => (&key[..key.len() - 1], Some(slot)),
        _ => (name, None),
    }
}

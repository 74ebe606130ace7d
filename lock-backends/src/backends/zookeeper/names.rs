//! Names of nodes: any key becomes one path element, and the owner's part of a name finds its node again.

use crate::session::OwnerId;

/// Parent of everything of ours.
pub(super) const ROOT: &str = "/lockbench";

/// The node under which the waiters of `key` queue.
pub(super) fn queue_path(key: &str) -> String {
    format!("{ROOT}/{}", escape(key))
}

/// What the name of the owner's node starts with; the server appends the sequence number.
pub(super) fn owner_prefix(owner: &OwnerId) -> String {
    format!("{}-", escape(&owner.0))
}

/// The sequence number of a waiter's node; `None` for a node that is not one.
pub(super) fn sequence(name: &str) -> Option<i64> {
    name.rsplit_once('-')?.1.parse().ok()
}

/// Percent-encodes all but letters, digits, `_` and `-`; a lone `%`, which no encoding yields, stands for the empty
/// string. Dots are encoded too: `.` and `..` are no path elements.
fn escape(text: &str) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_becomes_one_path_element() {
        for (key, path) in [
            ("vm-1_a", "/lockbench/vm-1_a"),
            ("a/b", "/lockbench/a%2Fb"),
            ("..", "/lockbench/%2E%2E"),
            ("", "/lockbench/%"),
            ("%", "/lockbench/%25"),
            ("ß\0", "/lockbench/%C3%9F%00"),
        ] {
            assert_eq!(queue_path(key), path);
        }
    }

    #[test]
    fn sequence_is_what_the_server_appended() {
        let owner = OwnerId("node-1:7".into());
        let name = format!("{}0000000042", owner_prefix(&owner));
        assert_eq!((name.as_str(), sequence(&name)), ("node-1%3A7-0000000042", Some(42)));
        assert_eq!(sequence("stranger"), None);
    }
}

//! Names of nodes: any key becomes one path element, and the owner's part of a name finds its node again.

use crate::session::OwnerId;

/// Parent of everything of ours.
pub(super) const ROOT: &str = "/lockbench";

/// The node under which the waiters of `key` queue.
pub(super) fn queue_path(key: &str) -> String {
    format!("{ROOT}/{}", escape(key))
}

/// Parent of the nodes of [`held_path`]. No key has that name: a `%` is followed by two digits, or alone.
pub(super) const HELD: &str = "/lockbench/%held";

/// The node that whoever holds `key` has made, where there is one node for each key.
pub(super) fn held_path(key: &str) -> String {
    format!("{HELD}/{}", escape(key))
}

/// What the data of that node starts with. With the length in front no owner is the beginning of another.
pub(super) fn signature(owner: &OwnerId) -> String {
    format!("{}:{};", owner.0.len(), owner.0)
}

/// What the holder says that it is doing, behind its signature.
pub(super) fn signed(data: &[u8]) -> Option<String> {
    let data = std::str::from_utf8(data).ok()?;
    let (length, rest) = data.split_once(':')?;
    rest.get(length.parse::<usize>().ok()?..)?.strip_prefix(';').map(str::to_owned)
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
    fn what_is_signed_is_read_back_whatever_the_owner_is_called() {
        let owner = OwnerId("a:1;b".into());
        let data = format!("{}start VM 7; now", signature(&owner));
        assert_eq!(signed(data.as_bytes()).as_deref(), Some("start VM 7; now"));
        assert_eq!(signed(b"a stranger's data"), None);
        assert_ne!(queue_path("%held"), HELD);
    }

    #[test]
    fn sequence_is_what_the_server_appended() {
        let owner = OwnerId("node-1:7".into());
        let name = format!("{}0000000042", owner_prefix(&owner));
        assert_eq!((name.as_str(), sequence(&name)), ("node-1%3A7-0000000042", Some(42)));
        assert_eq!(sequence("stranger"), None);
    }
}

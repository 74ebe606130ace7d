//! Names of keys and channels at the server. On one server a lock's key is `lockbench:lock:<key>`; in a Cluster a tag stands
//! before it, `lockbench:{<number>}:lock:<key>`, so that all that one request is about is in one slot: the key of a lock, those
//! of all its slots, its line and the counter of its tokens. The number is drawn from the key, and not the key itself, so that no
//! name that somebody gave a lock is read as a tag.

use crate::session::split_slot;

const OURS: &str = "lockbench:";
const LOCK: &str = "lock:";
/// Of a Cluster; also the number of tags here, which need not be the slots that they are in.
const SLOTS: u16 = 16_384;

/// How keys are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// All of them are on one server.
    Plain,
    /// With a tag, for a Cluster.
    Tagged,
}

impl Names {
    /// Name of a lock's key, and, of a resource without its slot, of its channel.
    pub(super) fn lock(self, key: &str) -> String {
        self.named(key, LOCK, key)
    }

    /// Name of the key in which those stand who wait for a resource.
    pub(super) fn line(self, key: &str) -> String {
        self.named(key, "line:", key)
    }

    /// Name of the key that says what they have to do.
    pub(super) fn doing(self, key: &str) -> String {
        self.named(key, "doing:", key)
    }

    /// Name of the counter from which the tokens of a lock are drawn: one for all, or, in a Cluster, for those of its tag.
    pub(super) fn fence(self, key: &str) -> String {
        self.named(key, "fence", "")
    }

    /// What is in the place of a tag before all names of a key: equal for keys that one request may be about.
    pub(super) fn tag(self, key: &str) -> u16 {
        match self {
            Self::Plain => 0,
            Self::Tagged => crc16(split_slot(key).0.as_bytes()) % SLOTS,
        }
    }

    fn named(self, key: &str, what: &str, which: &str) -> String {
        match self {
            Self::Plain => format!("{OURS}{what}{which}"),
            Self::Tagged => format!("{OURS}{{{}}}:{what}{which}", self.tag(key)),
        }
    }
}

/// The key that a lock's name stands for.
pub(super) fn key_of(lock: &str) -> Option<&str> {
    let ours = lock.strip_prefix(OURS)?;
    match ours.strip_prefix(LOCK) {
        Some(key) => Some(key),
        None => ours.strip_prefix('{')?.split_once("}:")?.1.strip_prefix(LOCK),
    }
}

/// Name of the channel of those who stand in line under a name.
pub(super) fn node_channel(node: &str) -> String {
    format!("{OURS}node:{node}")
}

/// The slot of a Cluster in which that tag is.
pub(super) fn slot_of(tag: u16) -> u16 {
    crc16(tag.to_string().as_bytes()) % SLOTS
}

/// CRC-16 of XMODEM, by which a Cluster puts keys into slots.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_the_one_that_the_cluster_specification_has() {
        // Appendix A: the check value; and what CLUSTER KEYSLOT says of these.
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(crc16(b"foo") % SLOTS, 12182);
        assert_eq!(slot_of(1000), crc16(b"1000") % SLOTS);
    }

    #[test]
    fn all_that_one_request_is_about_has_one_tag_whatever_a_lock_is_called() {
        for key in ["vm-7", "}x", "{a}b", "", "a##1"] {
            let names = Names::Tagged;
            let tag = |name: &str| name.split_once('{').unwrap().1.split_once('}').unwrap().0.to_owned();
            let all = [names.lock(key), names.lock(&format!("{key}#3")), names.line(key), names.doing(key)];
            for name in all.iter().chain([&names.fence(key)]) {
                assert_eq!(tag(name), names.tag(key).to_string(), "{name}");
            }
            for names in [Names::Plain, Names::Tagged] {
                assert_eq!(key_of(&names.lock(key)), Some(key));
            }
        }
        assert_eq!(key_of("lockbench:fence"), None);
        assert_eq!(key_of("lockbench:{7}:fence"), None);
        assert_eq!(Names::Plain.lock("vm-7"), "lockbench:lock:vm-7");
        assert_eq!(Names::Plain.fence("vm-7"), "lockbench:fence");
    }
}

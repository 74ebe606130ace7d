//! The hash ring: who owns a key under one view of the members.

use std::fmt;
use std::net::SocketAddr;

use md5::{Digest, Md5};

/// Points that each member has on the ring, as in the original since its first commit.
const VIRTUAL_NODES: u32 = 500;

/// An immutable view of the members and of the keys that each of them owns.
///
/// Invariant: the points are sorted by position, no two share one, and they depend on the members alone, not on
/// the order in which they joined. A change of membership is a new `Ring` with a higher epoch.
///
/// ```
/// use queue_lockfree::{HashKind, Member, NodeId, Ring};
///
/// let address = "127.0.0.1:7000".parse().unwrap();
/// let members = (0..3).map(|i| Member { id: NodeId(i), name: format!("node-{i}"), address });
/// let ring = Ring::new(1, HashKind::Mixed, members);
/// assert_eq!(ring.owner("volume-17"), ring.owner("volume-17"));
/// assert!(ring.member(ring.owner("volume-17").unwrap()).is_some());
/// ```
#[derive(Clone)]
pub struct Ring {
    epoch: u64,
    hash: HashKind,
    members: Vec<Member>,
    positions: Box<[u64]>,
    /// Owner of the arc that ends at the position of the same index.
    owners: Box<[NodeId]>,
}

impl Ring {
    /// Places every member's virtual nodes. `epoch` is the number of this view; 0 is kept for [`Ring::empty`].
    ///
    /// # Panics
    ///
    /// If two members share an id or a name: the second would own nothing.
    pub fn new(epoch: u64, hash: HashKind, members: impl IntoIterator<Item = Member>) -> Self {
        let mut members: Vec<Member> = members.into_iter().collect();
        members.sort_by_key(|member| member.id);
        for (i, member) in members.iter().enumerate() {
            let twin = members[..i].iter().any(|other| other.id == member.id || other.name == member.name);
            assert!(!twin, "two members share an id or a name. id={}, name={}", member.id, member.name);
        }
        let mut points: Vec<(u64, NodeId)> = members
            .iter()
            .flat_map(|member| {
                (0..VIRTUAL_NODES).map(move |index| (hash.virtual_node(&member.name, index), member.id))
            })
            .collect();
        // Where two members collide the lower id keeps the point, so that the order of joins cannot matter.
        points.sort_unstable();
        points.dedup_by_key(|point| point.0);
        let (positions, owners): (Vec<u64>, Vec<NodeId>) = points.into_iter().unzip();
        Self { epoch, hash, members, positions: positions.into(), owners: owners.into() }
    }

    /// The view before the first one: epoch 0, nobody owns anything.
    pub fn empty() -> Self {
        Self::new(0, HashKind::Mixed, [])
    }

    /// The member that owns `key`; `None` if the ring is empty. Allocates nothing.
    ///
    /// It is the first virtual node at or after the key's position, or the first of all beyond the last.
    pub fn owner(&self, key: &str) -> Option<NodeId> {
        let position = self.hash.position(key);
        let next = self.positions.partition_point(|&point| point < position);
        self.owners.get(next).or_else(|| self.owners.first()).copied()
    }

    /// Number of this view; a later view has a higher one.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The hash that places members and keys.
    pub fn hash(&self) -> HashKind {
        self.hash
    }

    /// All members, by id.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// One member; `None` if this view does not know it.
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        let index = self.members.binary_search_by_key(&id, |member| member.id).ok()?;
        Some(&self.members[index])
    }

    /// Part of all positions, 0 to 1, whose keys `id` owns: its expected part of the load.
    pub fn share(&self, id: NodeId) -> f64 {
        let circle = self.hash.circle();
        let arcs = self.positions.iter().zip(&self.owners).enumerate();
        let owned: u128 = arcs
            .filter(|&(_, (_, &owner))| owner == id)
            .map(|(i, (&end, _))| match i.checked_sub(1) {
                Some(before) => u128::from(end - self.positions[before]),
                None => circle - u128::from(self.positions[self.positions.len() - 1]) + u128::from(end),
            })
            .sum();
        owned as f64 / circle as f64
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("epoch", &self.epoch)
            .field("hash", &self.hash)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

/// How members and keys get their positions on the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashKind {
    /// The original's ring: 32-bit signed positions, `629 + h` with `h` folding UTF-16 units by 31, and virtual
    /// node `i` of a member at the hash of its name followed by the decimal `i`.
    ///
    /// Strings that differ in the last digits hash to neighbours, so the 500 virtual nodes are in effect three
    /// and the balance is bad; that is part of what is compared. See [`zstack_node_id`] for the member names.
    ZstackCompat,
    /// 64-bit positions: a string is folded eight little-endian bytes at a time, each step being the finaliser of
    /// SplitMix64 (two xor-shift-multiply rounds, every input bit reaches every output bit), and its length last.
    /// Virtual node `i` is the finaliser of the name's hash plus `i` golden-ratio increments: SplitMix64's own
    /// stream, seeded by the name. Both are fixed for ever: nodes of one ring must agree on them.
    #[default]
    Mixed,
}

impl HashKind {
    /// Where `key` lies, in an unsigned order that equals the hash's own.
    fn position(self, key: &str) -> u64 {
        match self {
            Self::ZstackCompat => ascending(zstack_hash(key)),
            Self::Mixed => mixed_hash(key),
        }
    }

    fn virtual_node(self, name: &str, index: u32) -> u64 {
        match self {
            Self::ZstackCompat => ascending(zstack_hash(&format!("{name}{index}"))),
            Self::Mixed => {
                mix(mixed_hash(name).wrapping_add(GOLDEN_RATIO.wrapping_mul(u64::from(index) + 1)))
            }
        }
    }

    /// Number of positions.
    fn circle(self) -> u128 {
        match self {
            Self::ZstackCompat => 1 << 32,
            Self::Mixed => 1 << 64,
        }
    }
}

/// A node's number, unique in its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One node as the ring knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub id: NodeId,
    /// The string that is hashed to place it; a node that comes back under its old name gets its old keys.
    pub name: String,
    /// Where its router listens.
    pub address: SocketAddr,
}

/// The name under which the original places the node with this address: the MD5 (version 3) UUID of the address
/// as text, 32 hex digits. Use it as [`Member::name`] with [`HashKind::ZstackCompat`].
pub fn zstack_node_id(address: &str) -> String {
    let mut uuid: [u8; 16] = Md5::digest(address.as_bytes()).into();
    uuid[6] = (uuid[6] & 0x0f) | 0x30;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    format!("{:032x}", u128::from_be_bytes(uuid))
}

fn zstack_hash(text: &str) -> i32 {
    let folded = text.encode_utf16().fold(0_i32, |h, unit| h.wrapping_mul(31).wrapping_add(i32::from(unit)));
    folded.wrapping_add(17 * 37)
}

/// Signed order as unsigned order.
fn ascending(hash: i32) -> u64 {
    u64::from(hash.cast_unsigned() ^ 0x8000_0000)
}

/// 2^64 divided by the golden ratio, the increment of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

fn mixed_hash(text: &str) -> u64 {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let folded = words.iter().chain([&last]).fold(GOLDEN_RATIO, |h, word| mix(h ^ u64::from_le_bytes(*word)));
    mix(folded ^ text.len() as u64)
}

/// The finaliser of SplitMix64, a bijection.
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests;

//! The hash ring: who owns a key under one view of the members.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;

use md5::{Digest, Md5};

/// Points that each member has on the ring, as in the original since its first commit.
const VIRTUAL_NODES: u32 = 500;

/// A line of memory has eight points, so a look-up reads one or two of them; and the index of 1,000 members, 256 KB, stays in
/// a core's second-level cache, where one with a part for each point does not.
const POINTS_PER_PART: usize = 8;

/// Stretches of the circle for each of its points whose past is told apart. Where members come and go under names that are
/// used again, or a few times only, there are fewer: they grow with the logarithm of the number of changes.
const TENURES_PER_POINT: usize = 4;

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
    points: Box<[Point]>,
    /// Where in `points` each equal part of the circle begins, and after the last their number: a search is within one
    /// part, which holds about [`POINTS_PER_PART`] points if the hash mixes well.
    parts: Box<[u32]>,
    /// How far to shift a position right for the index of its part.
    part_shift: u32,
    tenures: Vec<Tenure>,
}

/// A stretch of the circle whose keys have had their present owners since one epoch; it begins where the one before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tenure {
    /// Its last position.
    end: u64,
    since_epoch: u64,
}

/// A position and, below it, the number of the member that owns the arc which ends there: ordered as both are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point(u64);

impl Point {
    fn new(position: u64, owner: NodeId) -> Self {
        Self(position << u16::BITS | u64::from(owner.0))
    }

    fn position(self) -> u64 {
        self.0 >> u16::BITS
    }

    fn owner(self) -> NodeId {
        NodeId(self.0 as u16)
    }
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
        let (mut ids, mut names) = (HashSet::new(), HashSet::new());
        for Member { id, name, .. } in &members {
            let twin = !ids.insert(id) || !names.insert(name);
            assert!(!twin, "two members share an id or a name. id={id}, name={name}");
        }
        let mut points: Vec<Point> = Vec::with_capacity(members.len() * VIRTUAL_NODES as usize);
        for Member { id, name, .. } in &members {
            points.extend(hash.virtual_nodes(name).map(|position| Point::new(position, *id)));
        }
        // Where two members collide the lower id keeps the point, so that the order of joins cannot matter.
        points.sort_unstable();
        points.dedup_by_key(|point| point.position());
        let (parts, part_shift) = partition(&points, hash.position_bits());
        let tenures = vec![Tenure { end: u64::MAX, since_epoch: epoch }];
        Self { epoch, hash, members, points: points.into(), parts, part_shift, tenures }
    }

    /// The same view as what follows `before`: keys that stay where they were keep their generation. If views between
    /// the two were not seen, nobody knows what stayed, and all generations are this view's epoch; so they are where what is known
    /// of the past has become too much. Raised, a generation does no harm: only that it never falls is relied on.
    pub(crate) fn following(mut self, before: &Self) -> Self {
        if before.epoch + 1 != self.epoch || before.hash != self.hash || before.points.is_empty() {
            return self;
        }
        let mut ends: Vec<u64> =
            self.points.iter().chain(&before.points).map(|point| point.position()).collect();
        ends.extend(before.tenures.iter().map(|tenure| tenure.end));
        ends.sort_unstable();
        ends.dedup();
        self.tenures.clear();
        for end in ends {
            // Every position from the end before to this one has one owner and one tenure in both views.
            let stays = self.owner_at(end.min(self.last_position()))
                == before.owner_at(end.min(self.last_position()));
            let since_epoch = if stays { before.since_epoch(end) } else { self.epoch };
            match self.tenures.last_mut() {
                Some(last) if last.since_epoch == since_epoch => last.end = end,
                _ => self.tenures.push(Tenure { end, since_epoch }),
            }
        }
        // Members that come under a new name each time cut the circle into ever more stretches, which nothing would join again.
        if self.tenures.len() > TENURES_PER_POINT * self.points.len() {
            self.tenures = vec![Tenure { end: u64::MAX, since_epoch: self.epoch }];
        }
        self
    }

    /// Epoch at which the present owner of `key` got it, as far as views are known: the generation in its tokens.
    pub fn generation(&self, key: &str) -> u64 {
        self.since_epoch(self.hash.position(key))
    }

    fn since_epoch(&self, position: u64) -> u64 {
        let index = self.tenures.partition_point(|tenure| tenure.end < position);
        self.tenures[index].since_epoch
    }

    fn last_position(&self) -> u64 {
        (1 << self.hash.position_bits()) - 1
    }

    /// The view before the first one: epoch 0, nobody owns anything.
    pub fn empty() -> Self {
        Self::new(0, HashKind::Mixed, [])
    }

    /// The member that owns `key`; `None` if the ring is empty. Allocates nothing.
    ///
    /// It is the first virtual node at or after the key's position, or the first of all beyond the last.
    pub fn owner(&self, key: &str) -> Option<NodeId> {
        self.owner_at(self.hash.position(key))
    }

    /// Its [`Ring::owner`] and [`Ring::generation`].
    pub(crate) fn tenure(&self, key: &str) -> (Option<NodeId>, u64) {
        let position = self.hash.position(key);
        (self.owner_at(position), self.since_epoch(position))
    }

    fn owner_at(&self, position: u64) -> Option<NodeId> {
        let part = (position >> self.part_shift) as usize;
        let (start, end) = (self.parts[part] as usize, self.parts[part + 1] as usize);
        let next = start + self.points[start..end].partition_point(|point| point.position() < position);
        self.points.get(next).or_else(|| self.points.first()).map(|point| point.owner())
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

    /// Part of all positions, 0 to 1, whose keys a member owns, its expected part of the load; of each, by id.
    pub fn shares(&self) -> impl Iterator<Item = (&Member, f64)> {
        let circle = 1_u64 << self.hash.position_bits();
        let mut owned = vec![0_u64; self.members.len()];
        // The first arc begins at the last point and goes through the origin.
        let mut before = self.points.last().map_or(0, |last| last.position().wrapping_sub(circle));
        for point in &self.points {
            let index = self.members.binary_search_by_key(&point.owner(), |member| member.id);
            owned[index.expect("points belong to members")] += point.position().wrapping_sub(before);
            before = point.position();
        }
        self.members.iter().zip(owned.into_iter().map(move |owned| owned as f64 / circle as f64))
    }
}

/// Where each of `2^k` equal parts of a circle of `2^bits` positions begins in the sorted `points`, with `k` such that a
/// part has [`POINTS_PER_PART`] points or fewer on average; and by how many bits a position is shifted to find its part.
fn partition(points: &[Point], bits: u32) -> (Box<[u32]>, u32) {
    let shift = bits - points.len().div_ceil(POINTS_PER_PART).next_power_of_two().ilog2();
    let last = 1 << (bits - shift);
    let mut parts = Vec::with_capacity(last + 1);
    for (index, point) in (0..).zip(points) {
        let part = (point.position() >> shift) as usize;
        parts.resize(parts.len().max(part + 1), index);
    }
    parts.resize(last + 1, u32::try_from(points.len()).expect("65,536 members have fewer than 2^32 points"));
    (parts.into(), shift)
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
    /// 48-bit positions, the upper bits of a 64-bit hash: a string is folded eight little-endian bytes at a time, each step being the finaliser of
    /// SplitMix64 (two xor-shift-multiply rounds, every input bit reaches every output bit), and its length last.
    /// Virtual node `i` is the finaliser of the name's hash plus `i` golden-ratio increments: SplitMix64's own
    /// stream, seeded by the name. Both are fixed for ever: nodes of one ring must agree on them.
    #[default]
    Mixed,
}

impl HashKind {
    /// The hash of `key` as its definition gives it: signed 32 bits for [`HashKind::ZstackCompat`], unsigned 64 bits
    /// for [`HashKind::Mixed`].
    pub fn hash(self, key: &str) -> i128 {
        match self {
            Self::ZstackCompat => zstack_hash(key).into(),
            Self::Mixed => mixed_hash(key).into(),
        }
    }

    /// Where `key` lies, in an unsigned order that equals the hash's own.
    fn position(self, key: &str) -> u64 {
        match self {
            Self::ZstackCompat => ascending(zstack_hash(key)),
            Self::Mixed => high(mixed_hash(key)),
        }
    }

    /// Positions of a member's virtual nodes, by index.
    fn virtual_nodes(self, name: &str) -> impl Iterator<Item = u64> {
        let (zstack, mixed) = (zstack_hash(name), mixed_hash(name));
        (0..VIRTUAL_NODES).map(move |index| match self {
            Self::ZstackCompat => ascending(append_decimal(zstack, index)),
            Self::Mixed => high(mix(mixed.wrapping_add(GOLDEN_RATIO.wrapping_mul(u64::from(index) + 1)))),
        })
    }

    /// A position is below two to the power of this.
    fn position_bits(self) -> u32 {
        match self {
            Self::ZstackCompat => 32,
            Self::Mixed => 48,
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

/// What the original adds to the fold of a text.
const ZSTACK_OFFSET: i32 = 17 * 37;

fn zstack_hash(text: &str) -> i32 {
    let folded = text.encode_utf16().fold(0, zstack_fold);
    folded.wrapping_add(ZSTACK_OFFSET)
}

fn zstack_fold(hash: i32, unit: u16) -> i32 {
    hash.wrapping_mul(31).wrapping_add(i32::from(unit))
}

/// From the [`zstack_hash`] of a text to that of the text followed by a number of at most three digits.
fn append_decimal(hash: i32, number: u32) -> i32 {
    debug_assert!(number < 1000, "three digits are enough for virtual nodes. number={number}");
    let digits = if number < 10 {
        1
    } else if number < 100 {
        2
    } else {
        3
    };
    let units = [number / 100, number / 10 % 10, number % 10].into_iter().skip(3 - digits);
    let folded = units.fold(hash.wrapping_sub(ZSTACK_OFFSET), |hash, digit| {
        zstack_fold(hash, u16::from(b'0') + digit as u16)
    });
    folded.wrapping_add(ZSTACK_OFFSET)
}

/// Signed order as unsigned order.
fn ascending(hash: i32) -> u64 {
    u64::from(hash.cast_unsigned() ^ 0x8000_0000)
}

/// The part of a mixed hash that is a position.
fn high(hash: u64) -> u64 {
    hash >> u16::BITS
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

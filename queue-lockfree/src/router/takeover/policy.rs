//! What becomes of a key when the ring changes: the three answers.

/// What a node does with keys that a new view takes from it or brings to it. All nodes of a ring use the same.
///
/// Without changes of the ring the three do the same work, but for one comparison of numbers per task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Takeover {
    /// As the original: nothing. What waits or runs at the old owner goes on there while the new owner starts tasks of
    /// the same key, so the level can be exceeded.
    #[default]
    Faithful,
    /// The new owner starts a key when the old one says that no task of it runs there any more; what waited there is
    /// redirected. Safe while the old owner answers. One that is silent for a grace period, or cannot be
    /// reached, is taken for dead, and then this is as [`Takeover::Fenced`]; so it is for a key that a node had in a view
    /// which the new owner never saw.
    Drain,
    /// The new owner starts at once, under a token of a higher generation, for whoever guards the resource to refuse the
    /// old one's; started tasks of the old owner are told by [`Lost`](crate::Lost), what waited there is redirected.
    Fenced,
}

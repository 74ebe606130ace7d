//! What does one piece of work after the other, or some at a time.

/// A node, or the server. Work is begun in the order in which it comes.
#[derive(Debug, Clone)]
pub(super) struct Station {
    /// When each of those that work is free again.
    free_ns: Vec<u64>,
}

impl Station {
    /// So much at a time, one at least.
    pub(super) fn new(width: u32) -> Self {
        Self { free_ns: vec![0; width.max(1) as usize] }
    }

    /// When work is done that comes now.
    pub(super) fn done_ns(&mut self, now_ns: u64, work_ns: u64) -> u64 {
        let mut first = 0;
        for place in 1..self.free_ns.len() {
            if self.free_ns[place] < self.free_ns[first] {
                first = place;
            }
        }
        let done_ns = self.free_ns[first].max(now_ns) + work_ns;
        self.free_ns[first] = done_ns;
        done_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_in_the_order_of_its_coming_and_some_at_a_time() {
        let mut one = Station::new(1);
        assert_eq!([0, 1, 50].map(|now_ns| one.done_ns(now_ns, 10)), [10, 20, 60]);
        let mut two = Station::new(2);
        assert_eq!([0, 1, 2, 50].map(|now_ns| two.done_ns(now_ns, 10)), [10, 11, 20, 60]);
    }
}

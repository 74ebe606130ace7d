//! Numbers in no more bits than they differ by.

/// So many bytes follow the last number, so that each can be read in one piece.
const PADDING: usize = 16;

/// Numbers that are looked up by their place. Each is a base, plus so much per place, plus what is left, and only that takes room,
/// in as many bits for all as the greatest of them needs: none where they are all equal, or equally far apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    base: u64,
    slope: u64,
    bits: u32,
    packed: Box<[u8]>,
}

impl Column {
    /// Of numbers that neither rise nor fall.
    pub(super) fn flat(numbers: &[u64]) -> Self {
        Self::new(numbers, 0)
    }

    /// Of numbers that rise about evenly.
    pub(super) fn rising(numbers: &[u64]) -> Self {
        let rise = numbers.last().zip(numbers.first()).map_or(0, |(last, first)| last.saturating_sub(*first));
        Self::new(numbers, rise / (numbers.len() as u64).saturating_sub(1).max(1))
    }

    fn new(numbers: &[u64], slope: u64) -> Self {
        // What wraps around here wraps back when it is read.
        let level =
            |(place, number): (u64, &u64)| number.wrapping_sub(slope.wrapping_mul(place)).cast_signed();
        let levels = || (0..).zip(numbers).map(level);
        let base = levels().min().unwrap_or(0).cast_unsigned();
        let rests = || levels().map(|level| level.cast_unsigned().wrapping_sub(base));
        let bits = rests().max().map_or(0, |most| u64::BITS - most.leading_zeros());
        if bits == 0 {
            return Self { base, slope, bits, packed: Box::default() };
        }
        let mut packed = vec![0; (numbers.len() * bits as usize).div_ceil(8) + PADDING];
        for (place, rest) in rests().enumerate() {
            let (byte, shift) = position(place, bits);
            let piece: &mut [u8; PADDING] =
                (&mut packed[byte..byte + PADDING]).try_into().expect("that is its length");
            *piece = (u128::from_le_bytes(*piece) | u128::from(rest) << shift).to_le_bytes();
        }
        Self { base, slope, bits, packed: packed.into() }
    }

    /// The number at a place that there is.
    pub(super) fn get(&self, place: usize) -> u64 {
        let level = self.base.wrapping_add(self.slope.wrapping_mul(place as u64));
        if self.bits == 0 {
            return level;
        }
        let (byte, shift) = position(place, self.bits);
        let piece = self.packed[byte..byte + PADDING].try_into().expect("that is its length");
        let rest = (u128::from_le_bytes(piece) >> shift) as u64 & (u64::MAX >> (u64::BITS - self.bits));
        level.wrapping_add(rest)
    }
}

/// In which byte a number begins, and at which bit of it.
fn position(place: usize, bits: u32) -> (usize, usize) {
    let bit = place * bits as usize;
    (bit / 8, bit % 8)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        prop_oneof![vec(any::<u64>(), 0..70), vec(0_u64..9, 0..70), vec(u64::MAX - 9..=u64::MAX, 0..70)]
    }

    proptest! {
        #[test]
        fn every_number_comes_back_as_it_was(numbers in numbers()) {
            for column in [Column::flat(&numbers), Column::rising(&numbers)] {
                let back: Vec<u64> = (0..numbers.len()).map(|place| column.get(place)).collect();
                prop_assert_eq!(&back, &numbers);
            }
        }
    }

    #[test]
    fn what_is_equal_or_equally_far_apart_takes_no_room() {
        assert_eq!(Column::flat(&[7; 500]).packed.len(), 0);
        let even: Vec<u64> = (0..500).map(|place| 3 + place * 200_000).collect();
        assert_eq!(Column::rising(&even).packed.len(), 0);
        // Two that differ by one: a bit each.
        assert_eq!(Column::flat(&[4, 5].repeat(256)).packed.len(), 64 + PADDING);
    }
}

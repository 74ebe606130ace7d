//! Names as numbers, for servers that lock numbers or short names.

/// FNV-1a in 64 bits over a prefix of ours and the name: stable over builds, machines and languages.
pub(in crate::backends) fn hash(name: &str) -> i64 {
    let bytes = b"lockbench:".iter().chain(name.as_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }) as i64
}

#[cfg(test)]
mod tests {
    use super::hash;

    /// The conformance suite locks these two.
    #[test]
    fn two_names_with_one_hash_are_known() {
        assert_eq!(hash("FQdmNbzbq4c"), hash("rheRAdVb1C8"));
        assert_ne!(hash("vm-1"), hash("vm-2"));
    }
}

//! A key as a queue keeps it: short ones inline, since each task of an idle key makes one.

/// Bytes that need no allocation: with them a name is as large as a string's handle.
const INLINE: usize = 22;

/// A key of the table.
pub(super) enum Name {
    Short(u8, [u8; INLINE]),
    Long(Box<str>),
}

impl Name {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => &bytes[..usize::from(*length)],
            Self::Long(text) => text.as_bytes(),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Short(..) => std::str::from_utf8(self.as_bytes()).expect("it was a string"),
            Self::Long(text) => text,
        }
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        match u8::try_from(text.len()) {
            Ok(length) if text.len() <= INLINE => {
                let mut bytes = [0; INLINE];
                bytes[..text.len()].copy_from_slice(text.as_bytes());
                Self::Short(length, bytes)
            }
            _ => Self::Long(text.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_was_made_of_wherever_it_lies() {
        for text in ["", "vm-1", "volume-é-0123456789abc", "volume-é-0123456789abcd"] {
            let name = Name::from(text);
            assert_eq!((name.as_str(), name.as_bytes()), (text, text.as_bytes()));
            assert_eq!(matches!(name, Name::Short(..)), text.len() <= INLINE, "{text}");
        }
        assert_eq!(size_of::<Name>(), size_of::<String>());
    }
}

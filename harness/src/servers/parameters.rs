//! What follows the `?` of a URL.

/// What follows the `?` of a URL, and what stands before it.
#[derive(Debug)]
pub(super) struct Parameters {
    before: String,
    /// In their order, as they are written.
    pairs: Vec<(String, String)>,
}

impl Parameters {
    pub(super) fn of(url: &str) -> Self {
        let (before, query) = url.split_once('?').unwrap_or((url, ""));
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        };
        let pairs = query.split('&').filter(|one| !one.is_empty()).map(pair).collect();
        Self { before: before.to_owned(), pairs }
    }

    /// The value of that name, decoded.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let (_, value) = self.pairs.iter().find(|(other, _)| other == name)?;
        decoded(value).ok().flatten()
    }

    /// Sets it to a value that is encoded already.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.pairs.retain(|(other, _)| other != name);
        self.pairs.push((name.to_owned(), value.to_owned()));
    }

    /// Of those that begin so, none is left.
    pub(super) fn drop_all(&mut self, beginning: &str) {
        self.pairs.retain(|(name, _)| !name.starts_with(beginning));
    }

    pub(super) fn url(&self) -> String {
        let pairs: Vec<String> = self.pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() { self.before.clone() } else { format!("{}?{}", self.before, pairs.join("&")) }
    }
}

/// Percent-encodes what would end a value.
pub(super) fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// Undoes percent-encoding; None of an empty text.
pub(super) fn decoded(text: &str) -> Result<Option<String>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|digit| digit.and_then(|d| char::from(d).to_digit(16)));
        let [Some(high), Some(low)] = digits else {
            return Err("a `%` is not followed by two digits".to_owned());
        };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| "a percent code is no byte".to_owned())?);
    }
    let text = String::from_utf8(bytes).map_err(|_| "the login is no UTF-8".to_owned())?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

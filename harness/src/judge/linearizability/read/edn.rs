//! Maps in EDN: `{:process 0, :type :invoke, :f :append, :key "0", :value "x"}`, in a vector or one after the other.

use std::collections::BTreeMap;

use clojure_reader::edn::{self, Edn};

use super::super::history::{End, Format, History, Value, Verb};
use super::error::ReadError;
use super::pairing::{Line, Pairing, end, verb};

type Map<'a> = BTreeMap<Edn<'a>, Edn<'a>>;

pub(super) fn read(text: &str) -> Result<History, ReadError> {
    let mut pairing = Pairing::new(Format::Edn);
    let mut cursor = Cursor { rest: text, line: 1 };
    cursor.skip_space();
    let close = match cursor.rest.chars().next() {
        Some('[') => Some(']'),
        Some('(') => Some(')'),
        _ => None,
    };
    if close.is_some() {
        cursor.advance(1);
    }
    loop {
        cursor.skip_space();
        match (cursor.rest.chars().next(), close) {
            (None, None) => return Ok(pairing.finish()),
            (None, Some(close)) => {
                let what = format!("the file ends before its `{close}`; it was cut off");
                return Err(ReadError::new(cursor.line, what));
            }
            (Some(found), Some(close)) if found == close => {
                cursor.advance(1);
                cursor.skip_space();
                if !cursor.rest.is_empty() {
                    return Err(ReadError::new(cursor.line, format!("something follows the last `{close}`")));
                }
                return Ok(pairing.finish());
            }
            _ => {}
        }
        let line = cursor.line;
        let form = cursor.form()?;
        if let Some(operation) = operation(line, &form)? {
            let Operation { process, end, verb, key, value } = operation;
            pairing.add(Line { line, process: &process, end, verb, key, value })?;
        }
    }
}

/// Where the reader is in a file.
struct Cursor<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Cursor<'a> {
    fn advance(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.line += skipped.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
    }

    /// Skips white space, commas, and comments to the end of their line.
    fn skip_space(&mut self) {
        loop {
            let after = self.rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            self.advance(self.rest.len() - after.len());
            if !self.rest.starts_with(';') {
                return;
            }
            self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    fn form(&mut self) -> Result<Edn<'a>, ReadError> {
        let (form, after) = edn::read(self.rest).map_err(|error| {
            let line = self.line + error.line.unwrap_or(1).saturating_sub(1);
            ReadError::new(
                line,
                format!("not EDN ({:?}); is the file cut off or not EDN at all?", error.code),
            )
        })?;
        self.advance(self.rest.len() - after.len());
        Ok(form)
    }
}

struct Operation {
    process: String,
    end: Option<End>,
    verb: Verb,
    key: Option<Box<str>>,
    value: Value,
}

/// A client's operation; `None` for the nemesis.
fn operation(line: usize, form: &Edn<'_>) -> Result<Option<Operation>, ReadError> {
    let form = match form {
        Edn::Tagged(_, inner) => inner,
        form => form,
    };
    let Edn::Map(map) = form else {
        return Err(ReadError::new(line, "must be a map such as {:process 0, :type :invoke, :f :read}"));
    };
    let get = |name: &'static str| map.get(&Edn::Key(name.into()));
    let keyword = |name| match get(name) {
        Some(Edn::Key(keyword)) => Ok(keyword),
        _ => Err(ReadError::new(line, format!("needs `:{name}` with a keyword"))),
    };
    let process = match get("process") {
        Some(Edn::Int(number)) => number.to_string(),
        Some(Edn::Key(_)) => return Ok(None),
        _ => return Err(ReadError::new(line, "needs `:process` with a number")),
    };
    let verb = verb(line, keyword("f")?)?;
    let reason = get("error").is_some_and(|error| !matches!(error, Edn::Nil));
    let end = end(line, keyword("type")?, reason)?;
    let key = match get("key") {
        None | Some(Edn::Nil) => None,
        Some(Edn::Str(text)) => Some(Box::from(&**text)),
        Some(other) => Some(printed(line, other)?),
    };
    let value = match (fence(map), get("value")) {
        (Some(fence), _) if verb == Verb::Acquire => Value::Fence(fence),
        (_, Some(value)) => convert(line, value)?,
        _ => Value::Nil,
    };
    Ok(Some(Operation { process, end, verb, key, value }))
}

/// The fence of a grant: `:fence` or `:token`, beside the value or in it.
fn fence(map: &Map<'_>) -> Option<u128> {
    let inner = match map.get(&Edn::Key("value".into())) {
        Some(Edn::Map(inner)) => Some(inner),
        _ => None,
    };
    let fences = ["fence", "token"].into_iter().flat_map(|name| {
        let name = Edn::Key(name.into());
        [map.get(&name), inner.and_then(|inner| inner.get(&name))]
    });
    fences.flatten().find_map(|fence| match fence {
        Edn::Int(number) => u128::try_from(*number).ok(),
        _ => None,
    })
}

/// The value at the start of a text, and what follows it.
pub(super) fn value(line: usize, text: &str) -> Result<(Value, &str), ReadError> {
    let mut cursor = Cursor { rest: text, line };
    if text.trim().is_empty() {
        return Ok((Value::Nil, ""));
    }
    let form = cursor.form()?;
    Ok((convert(line, &form)?, cursor.rest))
}

fn convert(line: usize, form: &Edn<'_>) -> Result<Value, ReadError> {
    match form {
        Edn::Vector(items) => match &items[..] {
            [first, second] => Ok(Value::Pair(Box::new((flat(line, first)?, flat(line, second)?)))),
            _ => flat(line, form),
        },
        _ => flat(line, form),
    }
}

/// A value as one thing, whatever its structure.
fn flat(line: usize, form: &Edn<'_>) -> Result<Value, ReadError> {
    Ok(match form {
        Edn::Nil => Value::Nil,
        Edn::Int(int) => Value::Int(*int),
        Edn::Str(text) => Value::Text(Box::from(&**text)),
        other => Value::Other(printed(line, other)?),
    })
}

/// The text of a form. Printing is recursive, so depth must have a bound.
fn printed(line: usize, form: &Edn<'_>) -> Result<Box<str>, ReadError> {
    const DEEPEST: usize = 100;
    let mut open = vec![(form, 0)];
    while let Some((form, depth)) = open.pop() {
        if depth > DEEPEST {
            return Err(ReadError::new(
                line,
                format!("a value is nested more than {DEEPEST} deep; flatten it"),
            ));
        }
        match form {
            Edn::Vector(items) | Edn::List(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Edn::Set(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Edn::Map(items) => {
                open.extend(items.iter().flat_map(|(key, value)| [(key, depth + 1), (value, depth + 1)]))
            }
            Edn::Tagged(_, inner) => open.push((inner, depth + 1)),
            _ => {}
        }
    }
    Ok(form.to_string().into_boxed_str())
}

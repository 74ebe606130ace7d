//! The words of the port: what a line may be, in each direction.

use serde::{Deserialize, Serialize};

/// The version of the port that this lockbench speaks.
pub const VERSION: u32 = 1;

/// The longest line, in bytes, that is read from a program.
pub(super) const LONGEST: usize = 64 * 1024;

/// How much of a line is quoted.
const QUOTED: usize = 200;

/// What a program is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToProgram {
    /// Take the keys, all or none. Gets one answer: granted, timed-out, failed or unknown.
    Acquire {
        /// Rises with every request, and names it from then on.
        id: u64,
        /// One, unless the program promises `many`.
        keys: Vec<String>,
        /// Shared only if the program promises `shared`.
        mode: HowHeld,
        /// How many may hold it at once; 1, unless the program promises `levels`.
        level: u32,
        /// How long it may take; 0: do not wait.
        within_ms: u64,
    },
    /// Give back what was granted, or, after unknown, see to it that nothing of it stands. Gets one answer: released,
    /// already-lost or unknown.
    Release {
        /// That of the acquire.
        id: u64,
    },
    /// Say what was counted. Only told to a program that promises `counts`.
    Counts,
    /// Give everything back, and end.
    Close,
}

/// How a key is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HowHeld {
    /// By one holder.
    Exclusive,
    /// By any number of holders of this mode.
    Shared,
}

/// What a program says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FromProgram {
    /// Its first line, once it is connected.
    Hello {
        /// Of the port: [`VERSION`].
        version: u32,
        /// What it can do: the same as its `contender.toml` promises.
        capabilities: Promises,
        /// The version of the library that it is made of, for reports.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        library: Option<String>,
    },
    /// The keys are held from now on.
    Granted {
        /// That of the acquire.
        id: u64,
        /// The fencing token, where it promises one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<u64>,
        /// For how long from now it is certain to be held, where that is known and nothing renews it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        valid_ms: Option<u64>,
        /// Which of the slots of a level above 1, from 0.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<u32>,
    },
    /// The time is over, and it is proven that no grant can follow.
    TimedOut {
        /// That of the acquire.
        id: u64,
    },
    /// An error, and nothing is held: it is definite.
    Failed {
        /// That of the acquire.
        id: u64,
        /// What happened.
        why: String,
    },
    /// An error after which something may be held, or may not: it is not definite.
    Unknown {
        /// That of the acquire.
        id: u64,
        /// What happened.
        why: String,
    },
    /// It was held until now and is free.
    Released {
        /// That of the acquire.
        id: u64,
    },
    /// It was not held any more when it was to be given back.
    AlreadyLost {
        /// That of the acquire.
        id: u64,
    },
    /// Something ended before it was given back.
    Lost {
        /// That of the acquire; left out: all that is held.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        /// What happened.
        why: String,
    },
    /// What it has sent to its server so far.
    Counts {
        /// Requests.
        requests: u64,
        /// Connections, now.
        connections: u64,
    },
}

impl FromProgram {
    /// A line of a program.
    ///
    /// # Errors
    /// What is wrong with it; the line is quoted.
    pub fn parse(line: &str) -> Result<Self, String> {
        serde_json::from_str(line).map_err(|error| format!("{error}, in the line {}", quoted(line)))
    }
}

/// A line as it is shown in an error.
pub(super) fn quoted(line: &str) -> String {
    let shown: String = line.chars().take(QUOTED).collect();
    if shown.len() < line.len() { format!("`{shown}…`") } else { format!("`{shown}`") }
}

/// A message as a line, with its end.
pub(super) fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("messages have string keys only");
    line.push(b'\n');
    line
}

/// What a program can do; all that is left out it cannot. The same words as for our own variants.
#[expect(clippy::struct_excessive_bools, reason = "independent promises, each asked for on its own")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Promises {
    /// Waiters of different programs are granted in the order of their arrival.
    pub fair: bool,
    /// Grants carry a fencing token that rises with every grant of a key.
    pub token: bool,
    /// Serves a level above 1 itself, and names the slot; otherwise level N is N keys.
    pub levels: bool,
    /// Takes several keys at once; otherwise they are asked for one by one, in order.
    pub many: bool,
    /// Has shared mode; otherwise shared steps wait for each other.
    pub shared: bool,
    /// Waits for a key by itself; otherwise it answers at once, and is asked again.
    pub waits: bool,
    /// What it holds has a lease, which ends by itself when the program is silent.
    pub lease: bool,
    /// Says `lost` when what it holds ends before it is given back.
    pub reports_loss: bool,
    /// Answers `counts`.
    pub counts: bool,
}

impl Promises {
    /// Each with its name, in the order of the specification.
    #[must_use]
    pub fn named(&self) -> [(&'static str, bool); 9] {
        let Self { fair, token, levels, many, shared, waits, lease, reports_loss, counts } = *self;
        [
            ("fair", fair),
            ("token", token),
            ("levels", levels),
            ("many", many),
            ("shared", shared),
            ("waits", waits),
            ("lease", lease),
            ("reports_loss", reports_loss),
            ("counts", counts),
        ]
    }

    /// The first that two say otherwise; `None` where they agree.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<(&'static str, bool, bool)> {
        let both = self.named().into_iter().zip(other.named());
        both.map(|((name, one), (_, other))| (name, one, other)).find(|(_, one, other)| one != other)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// One of each, with all that it may have.
    fn told() -> Vec<Value> {
        vec![
            json!({"type": "acquire", "id": 1, "keys": ["vm-7"], "mode": "exclusive", "level": 1, "within_ms": 500}),
            json!({"type": "acquire", "id": 2, "keys": ["a", "b"], "mode": "shared", "level": 3, "within_ms": 0}),
            json!({"type": "release", "id": 1}),
            json!({"type": "counts"}),
            json!({"type": "close"}),
        ]
    }

    fn said() -> Vec<Value> {
        let capabilities = serde_json::to_value(Promises::default()).unwrap();
        vec![
            json!({"type": "hello", "version": 1, "capabilities": capabilities, "library": "redis-py 7.0"}),
            json!({"type": "hello", "version": 1, "capabilities": {"fair": true}}),
            json!({"type": "granted", "id": 1, "token": 12, "valid_ms": 900, "slot": 2}),
            json!({"type": "granted", "id": 1}),
            json!({"type": "timed-out", "id": 1}),
            json!({"type": "failed", "id": 1, "why": "connection refused"}),
            json!({"type": "unknown", "id": 1, "why": "connection reset"}),
            json!({"type": "released", "id": 1}),
            json!({"type": "already-lost", "id": 1}),
            json!({"type": "lost", "id": 1, "why": "the lease ended"}),
            json!({"type": "lost", "why": "the session expired"}),
            json!({"type": "counts", "requests": 17, "connections": 2}),
        ]
    }

    const WRONG: &[&str] = &[
        "",
        "7",
        "nonsense",
        r#"{"type": "granted"}"#,
        r#"{"type": "granted", "id": -1}"#,
        r#"{"type": "granted", "id": "1"}"#,
        r#"{"type": "granted", "id": 1, "tokne": 3}"#,
        r#"{"type": "grant", "id": 1}"#,
        r#"{"type": "unknown", "id": 1}"#,
        r#"{"type": "hello", "version": 1, "capabilities": {"fare": true}}"#,
    ];

    #[test]
    fn every_example_is_a_message_and_comes_back_as_it_was() {
        for value in told() {
            let message: ToProgram = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(&message).unwrap(), value);
        }
        for value in said() {
            let message = FromProgram::parse(&value.to_string()).unwrap();
            let again = serde_json::to_value(&message).unwrap();
            assert_eq!(FromProgram::parse(&again.to_string()).unwrap(), message, "{value}");
        }
    }

    #[test]
    fn what_is_no_message_is_quoted() {
        for wrong in WRONG {
            let error = FromProgram::parse(wrong).unwrap_err();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
        let long = "x".repeat(100_000);
        assert!(FromProgram::parse(&long).unwrap_err().len() < 400);
    }

    /// The schema and the types are written apart: each is shown what the other takes, and refuses.
    #[test]
    fn the_schema_takes_what_the_types_take_and_nothing_else() {
        let text = include_str!("../../../docs/port.schema.json");
        let mut compiler = boon::Compiler::new();
        let mut schemas = boon::Schemas::new();
        compiler.add_resource("port.json", serde_json::from_str(text).unwrap()).unwrap();
        let mut of =
            |name: &str| compiler.compile(&format!("port.json#/$defs/{name}"), &mut schemas).unwrap();
        let (to, from) = (of("to-program"), of("from-program"));
        for value in told() {
            assert!(schemas.validate(&value, to).is_ok(), "{value}");
            assert!(schemas.validate(&value, from).is_err() || value["type"] == "counts", "{value}");
        }
        for value in said() {
            assert!(schemas.validate(&value, from).is_ok(), "{value}");
        }
        for wrong in WRONG {
            let Ok(value) = serde_json::from_str::<Value>(wrong) else { continue };
            assert!(schemas.validate(&value, from).is_err(), "{value}");
        }
        // Every promise has its place, and its words.
        let document: Value = serde_json::from_str(text).unwrap();
        let properties = document["$defs"]["capabilities"]["properties"].as_object().unwrap();
        let names: Vec<&str> = Promises::default().named().iter().map(|(name, _)| *name).collect();
        assert_eq!(
            properties.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
            names.into_iter().collect()
        );
    }

    #[test]
    fn what_two_say_otherwise_is_named() {
        let promised = Promises { fair: true, ..Promises::default() };
        assert_eq!(promised.difference(&promised), None);
        assert_eq!(promised.difference(&Promises::default()), Some(("fair", true, false)));
    }
}

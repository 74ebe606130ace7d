//! Other lockbenches on this machine: two that measure are in each other's way.

use harness::engine::{Twin, twins};
use harness::servers::redact;

/// One sentence for each that runs now.
#[must_use]
pub fn warnings() -> Vec<String> {
    twins().iter().map(warning).collect()
}

fn warning(twin: &Twin) -> String {
    let since = twin.since.map(|since| format!(", since {since}")).unwrap_or_default();
    // A password may stand in any URL on a command line.
    let words =
        twin.command.iter().map(|word| if word.contains("://") { redact(word) } else { word.clone() });
    let command = words.collect::<Vec<_>>().join(" ");
    let command = if command.is_empty() { String::new() } else { format!(": `{command}`") };
    format!(
        "another lockbench runs on this machine (process {}{since}{command}); what both measure is of two",
        twin.pid
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_named_with_its_command_and_without_its_password() {
        let command =
            ["lockbench", "run", "--redis", "redis://:s3cret@127.0.0.1:6379"].map(str::to_owned).into();
        let since = jiff::Timestamp::from_second(1_780_000_000).ok();
        let text = warning(&Twin { pid: 77, since, command });
        assert!(text.contains("process 77, since 2026-") && text.contains("lockbench run --redis"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

//! How to do it again: the command, and the order of the runs.

use harness::record::RunRecord;

use crate::Comparison;

/// The order in which the runs of the batch took place.
pub(crate) fn order(comparison: &Comparison) -> Vec<String> {
    let mut runs: Vec<&RunRecord> = comparison.records().collect();
    runs.sort_by_key(|run| run.order);
    runs.iter().map(|run| format!("{} (block {})", run.contender, run.block)).collect()
}

/// The command line as a shell takes it.
pub(crate) fn command(comparison: &Comparison) -> String {
    let quoted = |word: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    comparison.manifest.command.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_command_can_be_pasted_into_a_shell() {
        let mut comparison = fixture::small();
        comparison.manifest.command =
            ["lockbench", "run", "--set", "name=it's $HOME"].map(str::to_owned).into();
        assert_eq!(command(&comparison), r"lockbench run --set 'name=it'\''s $HOME'");
    }
}

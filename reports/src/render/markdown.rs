//! `summary.md`: what a pull request or a CI summary shows.

use super::Renderer;
use crate::markup::{escape, line, table};
use crate::{
    Comparison, ReportError, callers, carries, cost, format, gated, matrix, moves, sections, sentences,
};

pub(super) const RENDERER: Renderer = Renderer { name: "markdown", file: "summary.md", render };

fn render(comparison: &Comparison) -> Result<String, ReportError> {
    let manifest = &comparison.manifest;
    let mut out = String::new();
    line(&mut out, &format!("# {}", escape(&callers::title(comparison))));
    line(&mut out, "");
    line(
        &mut out,
        &format!("{}. {}", format::utc(&manifest.started_utc), escape(&sentences::overview(comparison))),
    );
    line(&mut out, "");
    for finding in sentences::findings(comparison) {
        let icon = finding.badge.icon();
        let badge =
            format!("{icon}{}{}", if icon.is_empty() { "" } else { " " }, escape(&finding.badge.text));
        line(
            &mut out,
            &format!("- **{}: {badge}.** {}", finding.question, escape(&finding.sentences.join(" "))),
        );
    }
    line(&mut out, "");
    let mut matrix = String::new();
    if let Some(capacity) = sections::capacity(comparison) {
        line(&mut matrix, &escape(&carries::level(comparison)));
        line(&mut matrix, "");
        table(&mut matrix, "Contender", &capacity.without_empty_columns());
        line(&mut matrix, "");
    }
    if let Some(said) = callers::omission(comparison) {
        line(&mut matrix, &escape(&said));
        line(&mut matrix, "");
    }
    table(&mut matrix, "Contender", &matrix::table(comparison));
    line(&mut matrix, "");
    line(
        &mut matrix,
        "Rates are the median of the blocks with their range; percentiles are over all blocks merged; – is missing.",
    );
    line(&mut matrix, "");
    let mut again = String::new();
    line(&mut again, "Again with:");
    line(&mut again, "");
    line(&mut again, &format!("    {}", sections::command(comparison).replace('\n', " ")));
    let gate = comparison.gate.as_ref().map_or("", |gate| &gate.file);
    let gate = format!("What the gate asked ({}):", escape(gate));
    let reference = comparison.manifest.reference.as_deref().unwrap_or_default();
    let beside = format!("Beside {}, block by block, with the 99 % interval:", escape(reference));
    let tables = [
        (gate.as_str(), gated::thresholds(comparison)),
        (beside.as_str(), sections::differences(comparison)),
        ("When the last of a burst was served:", cost::bursts(comparison)),
        ("What each task cost, and what was held:", Some(cost::held(comparison))),
        ("What was broken on purpose:", sections::faults(comparison)),
        ("What moved keys cost:", moves::moves(comparison)),
    ];
    let mut parts = vec![matrix];
    for (title, cells) in tables {
        let Some(cells) = cells else { continue };
        let mut part = String::new();
        line(&mut part, title);
        line(&mut part, "");
        table(&mut part, "Contender", &cells.without_empty_columns());
        line(&mut part, "");
        parts.push(part);
    }
    parts.push(again);
    Ok(fitted(out, parts))
}

/// GitHub takes no longer comment.
const MOST_CHARS: usize = 65_536;

/// What fits, whole parts only: half a table says something else than the whole.
fn fitted(head: String, parts: Vec<String>) -> String {
    const SHORTENED: &str = "*Too long for a comment: the rest is in report.html.*\n";
    let room = MOST_CHARS - SHORTENED.chars().count();
    let (mut out, mut taken, mut shortened) = (String::new(), 0, false);
    // Whoever has findings without end has them line by line.
    let lines: Vec<String> = head.split_inclusive('\n').map(str::to_owned).collect();
    for part in lines.into_iter().chain(parts) {
        let chars = part.chars().count();
        if taken + chars > room {
            shortened = true;
            continue;
        }
        taken += chars;
        out += &part;
    }
    if shortened {
        out += SHORTENED;
    }
    out
}

#[cfg(test)]
mod tests {
    use harness::record::Skipped;

    use super::*;
    use crate::fixture;

    #[test]
    fn every_row_of_the_matrix_has_every_column() {
        let text = render(&fixture::named(&["pi|pe", "<script>"], 2)).unwrap();
        let matrix = text.split("Rates are").next().unwrap();
        let rows: Vec<_> = matrix.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(rows.len(), 2 + 2 + 1 + 2, "head, contenders, label, controls:\n{text}");
        let columns = |row: &str| row.replace("\\|", "").matches('|').count();
        assert!(rows.iter().all(|row| columns(row) == columns(rows[0])), "{text}");
        assert!(text.contains("pi\\|pe") && text.contains("&lt;script>"), "{text}");
    }

    #[test]
    fn it_fits_a_comment_whatever_there_is_to_say() {
        let mut wordy = fixture::small();
        let skipped =
            |n| Skipped { contender: format!("contender-{n}"), reason: "its server is missing, ".repeat(20) };
        wordy.manifest.skipped = (0..300).map(skipped).collect();
        let text = render(&wordy).unwrap();
        assert!(text.chars().count() <= MOST_CHARS, "{}", text.chars().count());
        assert!(
            text.contains("Too long for a comment") && text.contains("| ring-queue |"),
            "the matrix comes first"
        );
        assert!(!render(&fixture::rich()).unwrap().contains("Too long"));
        let whole = fitted("a\n".repeat(40_000), vec!["é".repeat(MOST_CHARS)]);
        assert!(whole.chars().count() <= MOST_CHARS && whole.ends_with("report.html.*\n"));
    }

    #[test]
    fn says_what_was_found_and_how_to_get_it_again() {
        let text = render(&fixture::small()).unwrap();
        assert!(
            text.starts_with("# hot-volumes\n\n2026-11-22 20:15:04 UTC. 2 contenders and 2 controls"),
            "{text}"
        );
        assert!(
            text.contains("- **Correctness: ✗ 3 exclusion broken.** redis-naive violated exclusion"),
            "{text}"
        );
        assert!(text.ends_with("    lockbench run hot-volumes --seed 42\n"), "{text}");
    }
}

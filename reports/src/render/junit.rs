//! `junit.xml`: what a CI server shows. A suite per contender, a case per check and block.

use harness::record::{CheckVerdict, GateAnswer, Kept, Promise, Role, RunRecord, Verdict};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::Renderer;
use crate::format;
use crate::sentences::promised;
use crate::{Comparison, ReportError, callers};

pub(super) const RENDERER: Renderer = Renderer { name: "junit", file: "junit.xml", render };

fn render(comparison: &Comparison) -> Result<String, ReportError> {
    let mut report = Report::new(callers::title(comparison));
    for row in &comparison.rows {
        let mut suite = TestSuite::new(row.contender.as_str());
        for run in &row.records {
            suite.add_test_case(validity(run));
            suite.add_test_cases(run.verdicts.iter().map(|answer| case(run, answer)));
        }
        report.add_test_suite(suite);
    }
    if let Some(gate) = &comparison.gate {
        let mut suite = TestSuite::new("gate");
        suite.add_test_cases(gate.answers.iter().map(threshold));
        report.add_test_suite(suite);
    }
    for failed in &comparison.manifest.failed {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(failed.reason.as_str());
        let mut suite = TestSuite::new(failed.contender.as_str());
        suite.add_test_case(TestCase::new("run to its end", status));
        report.add_test_suite(suite);
    }
    for skipped in &comparison.manifest.skipped {
        let mut status = TestCaseStatus::skipped();
        status.set_message(skipped.reason.as_str());
        let mut suite = TestSuite::new(skipped.contender.as_str());
        suite.add_test_case(TestCase::new("run", status));
        report.add_test_suite(suite);
    }
    report
        .to_string()
        .map_err(|error| ReportError::Render { renderer: RENDERER.name, reason: error.to_string() })
}

fn threshold(answer: &GateAnswer) -> TestCase {
    let why = || format!("{}; {}", answer.observed, answer.why);
    let status = match answer.kept {
        Kept::Yes => TestCaseStatus::success(),
        Kept::No => failure(&why(), &[]),
        Kept::CannotTell => failure(&format!("cannot be told: {}", why()), &[]),
    };
    TestCase::new(format!("{}: {}", answer.contender, answer.rule), status)
}

fn validity(run: &RunRecord) -> TestCase {
    let status = if run.invalid.is_empty() {
        TestCaseStatus::success()
    } else {
        failure(&run.invalid.join("; "), &[])
    };
    TestCase::new(format!("validity, block {}", run.block), status)
}

fn case(run: &RunRecord, answer: &CheckVerdict) -> TestCase {
    let broken = || format!("promised: {}, violations: {}", promised(answer.expected), answer.violations);
    let status = match (&answer.verdict, answer.promise()) {
        (Verdict::NotApplicable { reason }, _) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(reason.as_str());
            status
        }
        (Verdict::Unknown { reason }, Promise::Untold) => failure(&format!("cannot be told: {reason}"), &[]),
        (Verdict::Violated { witness }, Promise::Broken) => failure(&broken(), witness),
        (_, Promise::Broken) => failure(&broken(), &[]),
        // No promise is broken, and yet it is no success: a tool that counts green cases must not count this one.
        (Verdict::Violated { .. }, Promise::Kept) if run.role == Role::Contender => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(format!("{} (foretold)", format::counted(answer.violations, &answer.counted)));
            status
        }
        (_, Promise::Kept | Promise::Untold) => TestCaseStatus::success(),
    };
    TestCase::new(format!("{}, block {}", answer.check, run.block), status)
}

fn failure(message: &str, witness: &[String]) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(message);
    if !witness.is_empty() {
        status.set_description(witness.join("\n"));
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn parsed(comparison: &Comparison) -> Report {
        Report::deserialize_from_str(&render(comparison).unwrap()).unwrap()
    }

    #[test]
    fn a_broken_promise_fails_with_its_witness_and_a_caught_control_does_not() {
        let report = parsed(&fixture::small());
        let suite = |name: &str| report.test_suites.iter().find(|suite| suite.name.as_str() == name).unwrap();
        assert_eq!(
            (suite("ring-queue").failures, suite("redis-naive").failures, suite("none").failures),
            (0, 3, 0)
        );
        let skipped = |case: &&TestCase| matches!(case.status, TestCaseStatus::Skipped { .. });
        let not_asked = suite("noop").test_cases.iter().filter(skipped).count();
        assert_eq!(not_asked, 6, "two checks do not apply, in three blocks");
        let xml = render(&fixture::small()).unwrap();
        assert!(xml.contains("two inside, level 1"), "{xml}");
    }

    #[test]
    fn skipped_contenders_and_invalid_runs_are_shown() {
        let mut comparison = fixture::small();
        comparison.rows[0].records[0].invalid.push("late".to_owned());
        let report = parsed(&comparison);
        assert_eq!(report.test_suites[0].failures, 1);
        assert_eq!(report.test_suites.last().unwrap().name.as_str(), "zk-seq");
    }

    #[test]
    fn a_broken_threshold_is_a_failure() {
        let report = parsed(&fixture::gated());
        let gate = report.test_suites.iter().find(|suite| suite.name.as_str() == "gate").unwrap();
        assert_eq!((gate.tests, gate.failures), (2, 1));
    }

    #[test]
    fn names_with_markup_are_read_back_as_they_are() {
        let report = parsed(&fixture::named(&["<script>\"&"], 1));
        assert_eq!(report.test_suites[0].name.as_str(), "<script>\"&");
    }
}

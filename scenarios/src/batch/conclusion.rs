//! The end of a batch: its exit code and why.

use harness::record::{Expected, Manifest, Role, RunRecord, Verdict};

/// The end of a batch in one number, and the reasons for it.
///
/// Precedence: 130 interrupted, 3 a contender broke a promise (a witness stands even in an invalid run), 4 invalid or
/// not proven, 0 otherwise. 2 never gets here; 1 and 5 need a gate.
#[must_use]
pub fn conclude(manifest: &Manifest, records: &[RunRecord], interrupted: bool) -> (u8, Vec<String>) {
    let (mut broken, mut unproven) = (Vec::new(), Vec::new());
    for record in records {
        let place = format!("{}, block {}", record.contender, record.block);
        unproven.extend(record.invalid.iter().map(|reason| format!("{place}: invalid: {reason}")));
        for verdict in &record.verdicts {
            use Verdict::{Holds, NotApplicable, Unknown, Violated};
            let what = match (&verdict.verdict, verdict.expected) {
                (_, Expected::Either)
                | (Holds | NotApplicable { .. }, Expected::Holds)
                | (Violated { .. }, Expected::Violated) => continue,
                (Violated { .. }, Expected::Holds) => {
                    format!("{} was violated {} times", verdict.check, verdict.violations)
                }
                (Unknown { reason }, _) => format!("{}: cannot tell: {reason}", verdict.check),
                (Holds | NotApplicable { .. }, Expected::Violated) if record.role == Role::Control => {
                    format!("{} did not catch it", verdict.check)
                }
                (Holds | NotApplicable { .. }, Expected::Violated) => {
                    format!("{} held where a violation was promised", verdict.check)
                }
            };
            let told = !matches!(verdict.verdict, Unknown { .. });
            let reasons = if record.role == Role::Contender && told { &mut broken } else { &mut unproven };
            reasons.push(format!("{place}: {what}"));
        }
        broken.extend(too_few_regressions(record).map(|what| format!("{place}: {what}")));
        unproven.extend(noop_is_off(record).map(|off| format!("{place}: {off}")));
    }
    if records.is_empty() && !interrupted {
        unproven.push("nothing ran".to_owned());
    }
    for control in ["noop", "none"] {
        let ran = records.iter().any(|record| record.contender == control);
        if !ran && !interrupted && !manifest.skipped.iter().any(|skipped| skipped.contender == control) {
            unproven.push(format!("the control {control} did not take part, so nothing proves the bench"));
        }
    }
    let code = match (interrupted, broken.is_empty(), unproven.is_empty()) {
        (true, ..) => 130,
        (_, false, _) => 3,
        (_, true, false) => 4,
        (_, true, true) => 0,
    };
    let mut reasons = if interrupted { vec!["interrupted".to_owned()] } else { Vec::new() };
    reasons.extend(broken);
    reasons.extend(unproven);
    (code, reasons)
}

/// The control `noop` proves the measuring.
fn noop_is_off(record: &RunRecord) -> Option<String> {
    let (measured_ns, programmed_ns) = (record.latency.delay_ns()?, record.programmed_delay_ns?);
    (record.delay_is_exact() == Some(false)).then(|| {
        let (measured, programmed) = (measured_ns as f64 / 1e6, programmed_ns as f64 / 1e6);
        format!("measured a wait of {measured:.3} ms where {programmed:.3} ms were programmed")
    })
}

/// Whether fewer hits than promised ended in a token regression.
fn too_few_regressions(record: &RunRecord) -> Option<String> {
    let faults = &record.faults;
    let (hits, regressed) = (faults.hit_a_holder(), faults.regressed());
    let share = faults.least_share?;
    (hits >= faults.least_hits.max(1) && (regressed as f64) < share * hits as f64).then(|| {
        let share = share * 100.0;
        format!(
            "{regressed} of {hits} faults that hit a holder ended in a token regression, {share:.0} % were promised"
        )
    })
}

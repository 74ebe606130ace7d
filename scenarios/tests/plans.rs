//! The same seed draws the same plans in every version: a stored batch can be judged again, and a refactoring is told from a
//! change of what is measured.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use scenarios::{catalog, workload};

/// The first 16 digits of the digest of each scenario's plan at seed 7, and of the plan of its warm-up.
const PLANS: &[(&str, &str, Option<&str>)] = &[
    ("smoke", "b25bf9a17b8719cb", Some("21c36af1dec02d54")),
    ("vm-lifecycle", "17bf35eaf283cca9", Some("e4e5c10d48e94d48")),
    ("capacity-spread", "6eff05979a0a0a1d", Some("fd81a803249dfbb7")),
    ("capacity-hot", "ba6163038990b4cb", Some("ffefb5ee21410d9f")),
    ("capacity-zipf", "696782459aa7ac5e", Some("daae19e2c5aa1611")),
    ("hot-key", "3ac2cf2f347d14f4", Some("dfd89d20780df990")),
    ("virtual-router", "a32724ebb805cece", None),
    ("transfer", "ca7b07cf87ed415c", None),
    ("transfer-mirror", "b0092d12407f2787", None),
    ("scheduled-job", "54aced1e9a29f4ab", None),
    ("waiting-100000", "440f90f1e99d7f71", Some("5b27082e4d773569")),
    ("held-10000", "3f62e2c500470cb1", None),
    ("leases-end", "1ea042e27ad47398", None),
    ("late-answer", "c31896684ffe176d", None),
    ("shared-pool", "9a243ee993a9a1da", None),
    ("connections-full", "36f1598e37ec33de", None),
    ("thundering-1000", "07c8ebbb2e47517d", Some("8a189f371816ec04")),
    ("holder-pause", "3dd65a06cff44726", None),
    ("holder-stall", "8bfc1d0d8cdd484f", None),
    ("holder-kill", "03aa3fc9ecc26a68", None),
    ("holder-cut", "675035dc69d1e531", None),
    ("server-kill", "56e8ad2dbb6051e9", None),
    ("server-pause", "f59048aa28cead80", None),
    ("waiter-cut", "421d1d2e4d1ae1b4", None),
    ("promotion", "2127832064a334b4", None),
    ("clock-jump", "277db6752db5542a", None),
    ("leader-kill", "c0cad8cd8214a1ac", None),
    ("leader-pause", "4f2adc8155783a4f", None),
    ("owner-pause", "a770d20cca096e2f", None),
    ("owner-kill", "12d86bb6553101ad", None),
    ("owner-cut", "3a536d54e7434e0f", None),
    ("ring-join", "06f80c1a8d82f8ab", None),
    ("ring-leave", "ec7fb4e2f7b4235a", None),
    ("rings-differ", "93f825305b4239c2", None),
];

#[test]
fn a_seed_draws_what_it_has_always_drawn() {
    let short = |digest: String| digest[..16].to_owned();
    let mut drawn = Vec::new();
    for (name, _) in catalog::ALL {
        let scenario = catalog::load(name, &[]).unwrap();
        let plan = workload::draw(&scenario, 7).unwrap().digest();
        let warm_up = workload::draw_warm_up(&scenario, 7).unwrap();
        drawn.push((*name, short(plan), warm_up.map(|plan| short(plan.digest()))));
    }
    let stored: Vec<_> = PLANS
        .iter()
        .map(|(name, plan, warm_up)| (*name, plan.to_string(), warm_up.map(str::to_owned)))
        .collect();
    assert_eq!(drawn, stored, "{drawn:?}");
}

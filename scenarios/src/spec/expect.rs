//! What the checks must answer, as a scenario says it.

use harness::model::Holder;
use harness::record::Expected;
use harness::servers::Durability;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::word::maybe_word;

/// What a check must answer for contenders of a class, or for some by name. The first that fits decides.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectSpec {
    /// Name of the check.
    pub check: Spanned<String>,
    /// The class of contender; left out: all.
    pub class: Option<Class>,
    /// Only these contenders; left out: all of the class.
    pub contenders: Option<Vec<Spanned<String>>>,
    /// Only where a server keeps so much; left out: either way.
    #[serde(default, deserialize_with = "maybe_word")]
    pub durability: Option<Durability>,
    /// Only where the agents' fencing is so; left out: either way.
    pub fencing: Option<bool>,
    /// Only where holders are so; left out: however they are.
    pub holder: Option<Holder>,
    /// Only of servers whose name and version begin with one of these, such as `etcd 3.4`; of any other version nothing is
    /// expected. Left out: whatever the version.
    pub versions: Option<Vec<String>>,
    /// The answer; `either` = reported, not judged.
    pub verdict: Expected,
    /// With `violated`: how likely one fault that takes effect shows it, at least. Where none did and that could be chance, nothing
    /// is said.
    pub chance: Option<f64>,
    /// With `violated`: the share of the faults that hit a holder that must end in a token regression.
    pub share_of_hits: Option<f64>,
}

/// Contenders that behave alike when a node stands still or dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Locks with a lease: it ends without the holder's doing.
    Leased,
    /// Locks that are held as long as their connection lives.
    Unleased,
    /// The ring with work queues, that does nothing when it changes.
    Ring,
    /// The ring whose new owners wait for the old ones.
    RingDrain,
    /// The ring whose new owners start at once, under higher tokens.
    RingFenced,
    /// The queue of jobs in the database.
    Jobs,
    /// Transactions of databases.
    Transactions,
    /// Controls.
    Control,
}

/// What a check must answer for a contender.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Foretold {
    /// The answer.
    pub verdict: Expected,
    /// The share of hits that must end in a regression.
    pub share_of_hits: Option<f64>,
    /// How likely one fault that takes effect shows it, where it is to be violated.
    pub chance: Option<f64>,
}

/// Where a violation was foretold and none was seen, it was missed by chance with a probability below this, or nothing is said.
const MISSED_BY_CHANCE: f64 = 1e-4;

impl Foretold {
    /// Where nothing is said.
    pub(super) const HOLDS: Self = Self { verdict: Expected::Holds, share_of_hits: None, chance: None };
    /// Where nobody has looked.
    const NOTHING: Self = Self { verdict: Expected::Either, share_of_hits: None, chance: None };

    /// Why so many faults that took effect are too few to say that a violation did not show; `None`: they are enough.
    #[must_use]
    pub fn too_few_chances(&self, effective: u64) -> Option<String> {
        let chance = self.chance.filter(|_| self.verdict == Expected::Violated)?;
        let none = (1.0 - chance).powf(effective as f64);
        (none >= MISSED_BY_CHANCE).then(|| {
            format!(
                "a violation was foretold and none was seen in {effective} faults, of which each shows it in {:.0} % of cases or \
                 more: with p = {none:.2} that is chance",
                chance * 100.0
            )
        })
    }
}

impl ExpectSpec {
    /// What it says of a server of this name and version, if that is known.
    pub(super) fn of(&self, version: Option<&str>) -> Foretold {
        let versions = self.versions.as_deref().unwrap_or_default();
        let told_of = |version: &str| versions.iter().any(|prefix| version.starts_with(prefix.as_str()));
        match version {
            Some(version) if !versions.is_empty() && !told_of(version) => Foretold::NOTHING,
            _ => Foretold { verdict: self.verdict, share_of_hits: self.share_of_hits, chance: self.chance },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violated(rest: &str) -> ExpectSpec {
        toml::from_str(&format!("check = \"exclusion\"\nverdict = \"violated\"\n{rest}")).unwrap()
    }

    #[test]
    fn a_violation_that_did_not_show_is_no_news_where_that_could_be_chance() {
        let foretold = violated("chance = 0.5").of(None);
        // 2⁻¹³ = 1.2e-4, 2⁻¹⁴ = 0.6e-4.
        assert!(foretold.too_few_chances(13).is_some_and(|why| why.contains("13 faults")));
        assert_eq!(foretold.too_few_chances(14), None);
        assert_eq!(violated("").of(None).too_few_chances(1), None, "nobody said how likely it is");
    }

    #[test]
    fn of_a_version_that_is_not_named_nothing_is_expected() {
        let of_34 = violated("versions = [\"etcd 3.4.\"]");
        assert_eq!(of_34.of(Some("etcd 3.4.23")).verdict, Expected::Violated);
        assert_eq!(of_34.of(Some("etcd 3.5.1")).verdict, Expected::Either);
        assert_eq!(of_34.of(None).verdict, Expected::Violated);
        assert_eq!(violated("").of(Some("etcd 3.5.1")).verdict, Expected::Violated);
    }
}

//! Finding a variant by its name, and saying why it is not there.

/// Every variant of this crate, in this build or not, by the feature that brings it.
pub(super) const BY_FEATURE: &[(&str, &[&str])] = &[
    ("redis", &["redis-poll", "redis-pubsub", "redis-fenced", "redis-queue", "redis-naive", "redis-redlock"]),
    ("postgres", &["pg-session", "pg-mux", "pg-xact", "pg-row", "pg-lease"]),
    ("etcd", &["etcd-cas", "etcd-queue", "etcd-v3lock", "etcd-v3lock-checked"]),
    ("zookeeper", &["zk-seq", "zk-herd", "zk-ephemeral", "zk-crate"]),
    ("mariadb", &["mysql-get-lock", "mysql-lease"]),
    ("nats", &["nats-kv"]),
];

/// Why there is no variant of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoVariant {
    /// No build has it.
    #[error("there is no variant `{name}`{}", .nearest.map(|name| format!("; `{name}` is meant?")).unwrap_or_default())]
    Unknown {
        /// As it was asked for.
        name: String,
        /// The variant in this build whose name is nearest, if one is near.
        nearest: Option<&'static str>,
    },
    /// This build was made without its feature.
    #[error("`{name}` is not in this build: the feature `{feature}` of lock-backends is off")]
    FeatureOff {
        /// The variant.
        name: &'static str,
        /// The feature to switch on.
        feature: &'static str,
    },
}

impl NoVariant {
    /// Of a name that is not among those in this build.
    pub(super) fn of(name: &str, built: impl Iterator<Item = &'static str>) -> Self {
        for (feature, names) in BY_FEATURE {
            if let Some(name) = names.iter().find(|one| **one == name) {
                return Self::FeatureOff { name, feature };
            }
        }
        let distances = built.map(|one| (distance(name, one), one));
        // Further than half of the name is another word.
        let nearest = distances.filter(|(far, one)| *far * 2 <= one.len()).min().map(|(_, one)| one);
        Self::Unknown { name: name.to_owned(), nearest }
    }
}

/// Levenshtein's: the least number of letters to be put in, taken out or exchanged.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_told_from_a_feature_that_is_off() {
        let built = || ["local-mutex", "redis-fenced", "redis-queue"].into_iter();
        let typo = NoVariant::of("redis-fence", built());
        assert_eq!(typo.to_string(), "there is no variant `redis-fence`; `redis-fenced` is meant?");
        let off = NoVariant::of("zk-seq", built());
        assert_eq!(
            off.to_string(),
            "`zk-seq` is not in this build: the feature `zookeeper` of lock-backends is off"
        );
        let strange = NoVariant::of("consul", built());
        assert_eq!(strange, NoVariant::Unknown { name: "consul".into(), nearest: None });
    }
}

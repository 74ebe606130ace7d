//! Reasons that differ in their block alone, told once.

use crate::format;

/// A sentence such as `redis-naive, block 2: exclusion was violated 3 times`.
struct Reason<'a> {
    who: &'a str,
    block: u32,
    what: &'a str,
    /// How often, where that is counted; it adds up over the blocks.
    times: Option<u64>,
}

impl<'a> Reason<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (who, rest) = text.split_once(", block ")?;
        let (block, what) = rest.split_once(": ")?;
        let block = block.parse().ok()?;
        let counted = what.strip_suffix(" times").and_then(|what| what.rsplit_once(' '));
        let counted = counted.and_then(|(what, times)| Some((what, times.parse().ok()?)));
        Some(match counted {
            Some((what, times)) => Self { who, block, what, times: Some(times) },
            None => Self { who, block, what, times: None },
        })
    }
}

/// A reason as it was told, and what it is with all blocks that it was told of, where it names one.
type Kept<'a> = (&'a str, Option<(Reason<'a>, Vec<u32>)>);

/// Each reason once, with all of its blocks, in the order in which they first appear.
pub(crate) fn folded(reasons: &[String]) -> Vec<String> {
    let mut kept: Vec<Kept<'_>> = Vec::new();
    for text in reasons {
        let Some(own) = Reason::of(text) else {
            kept.push((text, None));
            continue;
        };
        let alike = kept.iter_mut().filter_map(|(_, of)| of.as_mut()).find(|(first, _)| {
            (first.who, first.what, first.times.is_some()) == (own.who, own.what, own.times.is_some())
        });
        match alike {
            Some((first, blocks)) => {
                first.times = first.times.zip(own.times).map(|(a, b)| a.saturating_add(b));
                if !blocks.contains(&own.block) {
                    blocks.push(own.block);
                }
            }
            None => {
                let block = own.block;
                kept.push((text, Some((own, vec![block]))));
            }
        }
    }
    let told = |(text, of): Kept<'_>| match of {
        Some((first, blocks)) if blocks.len() > 1 => {
            let blocks: Vec<String> = blocks.iter().map(u32::to_string).collect();
            let times =
                first.times.map_or_else(String::new, |times| format!(" {} times", format::count(times)));
            format!("{}, blocks {}: {}{times}", first.who, blocks.join(", "), first.what)
        }
        _ => text.to_owned(),
    };
    kept.into_iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_its_block_alone_is_told_once() {
        let reasons = [
            "the batch is not proven",
            "redis-naive, block 1: exclusion was violated 3 times",
            "redis-naive, block 1: lost-update was violated 1 times",
            "redis-naive, block 3: exclusion was violated 4 times",
            "pg-mux, block 2: invalid: late",
            "pg-mux, block 1: invalid: late",
            "pg-mux, block x: odd",
        ];
        assert_eq!(
            folded(&reasons.map(str::to_owned)),
            [
                "the batch is not proven",
                "redis-naive, blocks 1, 3: exclusion was violated 7 times",
                "redis-naive, block 1: lost-update was violated 1 times",
                "pg-mux, blocks 2, 1: invalid: late",
                "pg-mux, block x: odd",
            ]
        );
    }
}

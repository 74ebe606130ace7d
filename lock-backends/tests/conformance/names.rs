//! Every name is a name, and no two of them are one.

use lock_backends::Request;

use crate::support::{Bench, free_again, unique};

/// Found by a walk of 1.1e10 steps (Pollard's rho) through FNV-1a behind the prefix of the Postgres variants, whose own
/// test says that it still holds.
const ONE_HASH: [&str; 2] = ["FQdmNbzbq4c", "rheRAdVb1C8"];

/// All of them at once, so that two names that are taken for one another show.
pub(crate) async fn odd_names_are_names(bench: &Bench) {
    let run = unique("odd");
    let long = "x".repeat(500);
    let odd = [
        "a b",
        " a",
        "Ünïcode-✓-名前",
        "a/b",
        "a_b",
        "a%2Fb",
        "/a",
        "a/",
        "a//b",
        "a#1",
        "#",
        ".",
        "..",
        "'\"\\`",
        "a:b;c",
        "A",
        &long,
    ];
    let (a, b) = (bench.node().await, bench.node().await);
    let mut guards = Vec::new();
    for name in odd {
        let key = format!("{run}{name}");
        let guard = a.try_acquire_request(bench.ask(&key)).await.unwrap();
        guards.push((guard.unwrap_or_else(|| panic!("{name} is free")), key));
        let whole = a.try_acquire_request(bench.ask(&format!("{name}{run}"))).await.unwrap();
        whole.unwrap_or_else(|| panic!("{name} in front is free")).release().await.unwrap();
    }
    for (guard, key) in guards {
        assert!(b.try_acquire_request(bench.ask(&key)).await.unwrap().is_none(), "{key} is held");
        guard.release().await.unwrap();
        b.try_acquire_request(bench.ask(&key)).await.unwrap().expect("free").release().await.unwrap();
    }
}

/// Names that a server, its numbers or its limits could take for one another, all held at once; and each excludes itself,
/// from wherever it is asked for.
pub(crate) async fn names_that_look_alike_exclude_themselves_alone(bench: &Bench) {
    let bench = &bench.with_lasting_leases();
    let run = unique("alike");
    let mut alike: Vec<String> = [
        "k",
        "K",
        "k ",
        "k  ",
        "k.",
        "k_",
        "k-",
        "k\t",
        "k%",
        "k%%",
        "k*",
        "k?",
        "k>",
        "é",
        "e\u{301}",
        "ß",
        "SS",
        "ı",
        "i",
        "1",
        "01",
        "1.0",
        "+1",
        "-1",
        "1e0",
        "4294967297",
        "-9223372036854775808",
        "9223372036854775807",
    ]
    .map(|end| format!("{run}{end}"))
    .to_vec();
    // MySQL takes 64 characters, MariaDB 192 bytes, PostgreSQL's names 63, file names 255: the ends differ behind each.
    for most in [63, 64, 192, 255] {
        let start = format!("{run:x<most$}");
        alike.extend([format!("{start}a"), format!("{start}b"), start]);
    }
    let (a, b) = (bench.node().await, bench.node().await);
    let mut guards = Vec::new();
    for name in &alike {
        let guard = a.try_acquire_request(bench.ask(name)).await.unwrap();
        guards.push(guard.unwrap_or_else(|| panic!("{name:?} is taken for another")));
    }
    for name in &alike {
        assert!(b.try_acquire_request(bench.ask(name)).await.unwrap().is_none(), "{name:?} is held");
    }
    for guard in guards {
        guard.release().await.unwrap();
    }
    for name in &alike {
        free_again(bench, &b, name).await;
    }
}

/// `x#1` and the slots of `x`, all at once.
pub(crate) async fn a_slot_is_never_taken_for_a_key(bench: &Bench) {
    let key = unique("slot or key");
    let (a, b) = (bench.node().await, bench.node().await);
    let plain = [format!("{key}#0"), format!("{key}#1"), format!("{key}##0")];
    let mut guards = Vec::new();
    for name in &plain {
        guards.push(a.try_acquire_request(bench.ask(name)).await.unwrap().expect("a key of its own"));
    }
    for seed in 0..2 {
        let request = Request { level: 2, slot_seed: seed, ..bench.ask(&key) };
        guards.push(b.try_acquire_request(request).await.unwrap().expect("a slot of its own"));
    }
    let request = Request { level: 2, ..bench.ask(&key) };
    assert!(a.try_acquire_request(request).await.unwrap().is_none(), "a third holder of two slots");
    for guard in guards {
        guard.release().await.unwrap();
    }
}

/// Two names that one kind of variant, by a 64-bit hash, takes for one: a needless wait there, never a double grant, and
/// each release frees its own.
pub(crate) async fn names_with_one_hash_never_share_a_lock(bench: &Bench) {
    let [one, two] = ONE_HASH;
    let (a, b) = (bench.node().await, bench.node().await);
    let guard = a.acquire_request(bench.ask(one)).await.unwrap();
    let others = [
        a.try_acquire_request(bench.ask(two)).await.unwrap(),
        b.try_acquire_request(bench.ask(two)).await.unwrap(),
    ];
    assert!(b.try_acquire_request(bench.ask(one)).await.unwrap().is_none());
    drop(others);
    guard.release().await.unwrap();
    free_again(bench, &b, two).await;
    free_again(bench, &a, one).await;
}

pub(crate) async fn the_holder_is_shown_to_whoever_is_refused(bench: &Bench) {
    let key = unique("shown");
    let (a, b) = (bench.node().await, bench.node().await);
    let request = Request { description: "resize of volume 7; O'Hara".into(), ..bench.ask(&key) };
    let (owner, description) = (request.owner.0.to_string(), request.description.to_string());
    let guard = a.acquire_request(request).await.unwrap();
    assert!(b.try_acquire_request(bench.ask(&key)).await.unwrap().is_none());
    match b.holder(&key).await.unwrap() {
        Some(shown) => {
            assert!(shown == description || shown == owner || shown.starts_with("lease "), "{shown}")
        }
        None => eprintln!("         {} cannot tell who holds a key", bench.variant.name),
    }
    guard.release().await.unwrap();
    assert_eq!(b.holder(&key).await.unwrap(), None);
}

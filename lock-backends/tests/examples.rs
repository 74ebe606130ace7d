//! The examples, run as they stand against servers of their own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;
use std::process::Command;

use lock_backends::backends;

use support::start;

#[test]
fn every_server_has_an_example_that_works() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for server in backends::SERVERS {
        let Some(running) = runtime.block_on(start(server.name)) else { continue };
        // As the documentation writes it, whatever the form in which the bench knows its server.
        let (scheme, _) = server.url.split_once("://").unwrap();
        let place = running.endpoint().split_once("://").map_or(running.endpoint(), |(_, place)| place);
        let mut example = Command::new(example(server.name));
        let ran = example.env("LOCK_URL", format!("{scheme}://{place}")).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success(), "{}: {said}{}", server.name, String::from_utf8_lossy(&ran.stderr));
        for line in
            ["holding vm-7", "refused to node-2", "done", "released vm-7", "node-2 was told of its loss"]
        {
            assert!(said.contains(line), "{}: {line}: {said}", server.name);
        }
        runtime.block_on(running.stop()).unwrap();
    }
}

/// `cargo test` builds the examples beside the folder of its tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples").join(name)
}

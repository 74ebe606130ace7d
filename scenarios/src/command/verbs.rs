//! The verbs, and the command line that they make up.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Command;
use clap::builder::Styles;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::verb::{Group, Verb};
use super::{
    calibrate, capacity, check, compare, completions, doctor, explain, explore, fetch, floors, gate, history,
    hosts, init, keys, kubernetes, list, man, matrix, node, peers, port, predict, report, review, ring, run,
};

/// Every verb, in the order in which the help lists them within their groups; one line for each file.
pub(super) const VERBS: &[Verb] = &[
    Verb::of::<run::Run>(),
    Verb::of::<capacity::Capacity>(),
    Verb::of::<matrix::Matrix>(),
    Verb::of::<review::Review>(),
    Verb::of::<peers::Peers>(),
    Verb::of::<floors::Floors>(),
    Verb::of::<check::Check>(),
    Verb::of::<compare::Compare>(),
    Verb::of::<gate::Gate>(),
    Verb::of::<calibrate::Calibrate>(),
    Verb::of::<report::Report>(),
    Verb::of::<history::History>(),
    Verb::of::<list::List>(),
    Verb::of::<explain::Explain>(),
    Verb::of::<ring::RingArgs>(),
    Verb::of::<doctor::Doctor>(),
    Verb::telling::<completions::Completions>(),
    Verb::telling::<man::Man>(),
    Verb::of::<predict::Predict>(),
    Verb::of::<explore::Explore>(),
    Verb::of::<init::Init>(),
    Verb::of::<keys::Keys>(),
    Verb::of::<fetch::Fetch>(),
    Verb::of::<hosts::Hosts>(),
    Verb::of::<kubernetes::Kubernetes>(),
    Verb::of::<node::Node>(),
    Verb::of::<port::Port>(),
];

const ABOUT: &str =
    "Compares distributed locks with a lock-free design under one workload, and says which was wrong";

const EXIT_CODES: &str = "Exit codes: 0 pass, 2 usage or configuration, 3 correctness violated by a contender (or a \
                          promised violation did not show), 4 run invalid or controls not proven, 130 interrupted, and of a gate 1 failed, 5 cannot tell; \
                          those of check: see its help.";

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let given = lockbench().get_matches();
    let (name, given) = given.subcommand().expect("a verb is required");
    let verb = VERBS.iter().find(|verb| verb.name == name).expect("no verb is accepted but ours");
    let working = match (verb.begin)(given, lockbench()) {
        Ok(working) => working,
        Err(error) => error.format(&mut lockbench()).exit(),
    };
    let asked = std::env::var("LOCKBENCH_LOG").ok().and_then(|text| text.parse().ok());
    // The client of NATS tells every try to connect, also while a fault keeps it from it.
    let usual =
        || Targets::new().with_default(LevelFilter::ERROR).with_target("async_nats", LevelFilter::OFF);
    let filter = asked.unwrap_or_else(usual);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("lockbench: cannot start: {error}");
            return ExitCode::from(2);
        }
    };
    let code = runtime.block_on(working);
    // Whatever still runs has been told to stop; do not wait for it for ever.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("lockbench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The whole command line.
fn lockbench() -> Command {
    Command::new("lockbench")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(EXIT_CODES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(VERBS.iter().map(|verb| verb.command()))
        .help_template(help())
}

/// The help, with verbs by what a person wants: of its own accord clap lists all under one heading.
fn help() -> String {
    let styles = Styles::styled();
    let (heading, literal) = (styles.get_header(), styles.get_literal());
    let widest = VERBS.iter().map(|verb| verb.name.len()).max().unwrap_or(0);
    let mut groups = String::new();
    for group in Group::ALL {
        writeln!(groups, "{heading}{}:{heading:#}", group.title()).expect("a text can be written to");
        for verb in VERBS.iter().filter(|verb| verb.group == group) {
            let command = verb.command();
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            writeln!(groups, "  {literal}{:<widest$}{literal:#}  {about}", verb.name)
                .expect("a text can be written to");
        }
        groups.push('\n');
    }
    groups.push_str("What a verb takes: lockbench VERB --help\n\n");
    format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}{heading}Options:{heading:#}\n{{options}}{{after-help}}"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        lockbench().debug_assert();
    }

    /// The words of a line of shell, quotes taken off.
    fn split(line: &str) -> Vec<String> {
        let (mut words, mut quoted, mut word) = (Vec::new(), false, None::<String>);
        for letter in line.chars() {
            match letter {
                '\'' => {
                    quoted = !quoted;
                    word.get_or_insert_default();
                }
                ' ' if !quoted => words.extend(word.take()),
                letter => word.get_or_insert_default().push(letter),
            }
        }
        words.into_iter().chain(word).collect()
    }

    #[test]
    fn every_verb_shows_examples_that_it_understands() {
        for verb in VERBS.iter().filter(|verb| verb.group != Group::Place) {
            assert!(!verb.examples.is_empty(), "{} has no example", verb.name);
        }
        for verb in VERBS {
            let help = verb.command().render_long_help().to_string();
            for (what, line) in verb.examples {
                assert!(help.contains(line), "{line}: not in the help");
                assert!(!what.ends_with(['.', ':']), "{what}");
                let words = split(line);
                assert_eq!(words[..2], ["lockbench", verb.name], "{line}");
                let understood = lockbench().try_get_matches_from(&words);
                let begun = understood.map(|given| {
                    let (_, given) = given.subcommand().unwrap();
                    (verb.begin)(given, lockbench()).map(drop)
                });
                assert!(matches!(begun, Ok(Ok(()))), "{line}: {}", begun.unwrap_err());
            }
        }
        assert!(lockbench().try_get_matches_from(split("lockbench run smoke --candidate redis")).is_err());
        assert_eq!(split("run --set 'faults=[{ a = 1 }]' ''"), ["run", "--set", "faults=[{ a = 1 }]", ""]);
    }

    #[test]
    fn every_verb_is_registered_once() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/command");
        // A verb is a file, or a folder with one that is called so.
        let code = |path: &Path| if path.is_dir() { path.join("verb.rs") } else { path.to_owned() };
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                std::fs::read_to_string(code(path))
                    .unwrap()
                    .lines()
                    .any(|line| line.starts_with("impl Work for ") || line.starts_with("impl Tell for "))
            })
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        files.sort();
        let mut names: Vec<_> = VERBS.iter().map(|verb| verb.name).collect();
        names.sort_unstable();
        assert_eq!(files, names);
    }
}

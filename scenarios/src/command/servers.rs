//! Servers on the command line: an option for each product of the registry.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::error::Error;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use harness::servers::{ServerKind, ServerOptions, TlsFiles};

/// Servers that already run, instead of private ones: `--redis URL` or `LOCKBENCH_REDIS`, and so on; with `--redis-ca`,
/// `--redis-cert` and `--redis-key`, or `LOCKBENCH_REDIS_CA` and so on, the certificates for TLS, which become part of the URL. Or
/// private ones of another program: `--redis-program` or `LOCKBENCH_REDIS_PROGRAM`.
#[derive(Debug, Clone)]
pub(super) struct ServerUrls {
    by_kind: BTreeMap<ServerKind, String>,
    programs: BTreeMap<ServerKind, PathBuf>,
}

impl ServerUrls {
    /// Those that are given.
    pub(super) fn by_kind(&self) -> &BTreeMap<ServerKind, String> {
        &self.by_kind
    }

    /// The programs that private ones are to be of.
    pub(super) fn programs(&self) -> &BTreeMap<ServerKind, PathBuf> {
        &self.programs
    }

    /// How a private one is to be started, where nothing else is said.
    pub(super) fn options(&self, kind: ServerKind) -> ServerOptions {
        ServerOptions { program: self.programs.get(&kind).cloned(), ..ServerOptions::default() }
    }
}

impl Args for ServerUrls {
    fn augment_args(command: Command) -> Command {
        ServerKind::ALL.iter().fold(command, |command, kind| {
            let files = FILES.iter().map(|(what, help)| file(*kind, what, help));
            command.arg(option(*kind)).args(files).arg(program(*kind))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn option(kind: ServerKind) -> Arg {
    Arg::new(kind.name())
        .long(kind.name())
        .value_name("URL")
        .env(format!("LOCKBENCH_{}", kind.name().to_ascii_uppercase()))
        .hide_env_values(true)
        .help(format!("Uses {kind} where it already runs: {}", kind.url()))
}

/// What TLS takes beside the URL, each an option of every product.
const FILES: [(&str, &str); 3] = [
    ("ca", "Trusts the authorities in this PEM file to sign the server's certificate"),
    ("cert", "Shows the server this certificate, in PEM"),
    ("key", "The key of that certificate, in PEM"),
];

fn file(kind: ServerKind, what: &'static str, help: &'static str) -> Arg {
    let name = format!("{}-{what}", kind.name());
    Arg::new(name.clone())
        .env(format!("LOCKBENCH_{}", name.to_ascii_uppercase().replace('-', "_")))
        .long(name)
        .value_name("PATH")
        .requires(kind.name())
        .value_parser(clap::value_parser!(PathBuf))
        .hide_short_help(true)
        .help(help)
}

fn program(kind: ServerKind) -> Arg {
    let name = format!("{}-program", kind.name());
    Arg::new(name.clone())
        .env(format!("LOCKBENCH_{}", name.to_ascii_uppercase().replace('-', "_")))
        .long(name)
        .value_name("PATH")
        .conflicts_with(kind.name())
        .value_parser(clap::value_parser!(PathBuf))
        .hide_short_help(true)
        .help(format!(
            "Starts this program as {kind}, of ZooKeeper this jar, instead of the one of this machine; its version is in the record"
        ))
}

impl FromArgMatches for ServerUrls {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = |kind: &ServerKind| {
            let file = |what| matches.get_one::<PathBuf>(&format!("{}-{what}", kind.name())).cloned();
            let files = TlsFiles { ca: file("ca"), cert: file("cert"), key: file("key") };
            Some((*kind, kind.certified(matches.get_one::<String>(kind.name())?, &files)))
        };
        let named = |kind: &ServerKind| {
            let path = matches.get_one::<PathBuf>(&format!("{}-program", kind.name()))?;
            // Servers work in folders of their own.
            Some((*kind, std::path::absolute(path).unwrap_or_else(|_| path.clone())))
        };
        let all = ServerKind::ALL.iter();
        Ok(Self {
            by_kind: all.clone().filter_map(given).collect(),
            programs: all.filter_map(named).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let Self { by_kind, programs } = Self::from_arg_matches(matches)?;
        self.by_kind.extend(by_kind);
        self.programs.extend(programs);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_has_an_option_and_a_variable_that_show_no_password() {
        let command = ServerUrls::augment_args(Command::new("lockbench"));
        for kind in ServerKind::ALL {
            let given =
                command.clone().get_matches_from(["lockbench", &format!("--{}", kind.name()), "u://:p@h"]);
            let urls = ServerUrls::from_arg_matches(&given).unwrap();
            assert_eq!(urls.by_kind().get(kind).map(String::as_str), Some("u://:p@h"));
            let option = command.get_arguments().find(|argument| argument.get_id() == kind.name()).unwrap();
            let variable = option.get_env().unwrap().to_str().unwrap();
            assert_eq!(variable, format!("LOCKBENCH_{}", kind.name().to_uppercase()));
            assert!(option.is_hide_env_values_set());
        }
    }

    #[test]
    fn every_product_can_be_of_another_program_unless_it_runs_already() {
        let command = ServerUrls::augment_args(Command::new("lockbench"));
        for kind in ServerKind::ALL {
            let words = [format!("--{}-program=server", kind.name()), format!("--{}=u://h", kind.name())];
            let given = command.clone().get_matches_from(["lockbench", &words[0]]);
            let urls = ServerUrls::from_arg_matches(&given).unwrap();
            let program = urls.programs().get(kind).unwrap();
            assert!(program.is_absolute() && program.ends_with("server"), "{program:?}");
            assert_eq!(urls.options(*kind).program.as_ref(), Some(program));
            let both = command.clone().try_get_matches_from(["lockbench", &words[0], &words[1]]);
            assert!(both.is_err(), "{kind}");
        }
    }

    #[test]
    fn certificates_are_said_in_one_way_for_every_product_and_become_part_of_the_url() {
        let command = ServerUrls::augment_args(Command::new("lockbench"));
        for kind in ServerKind::ALL {
            let name = kind.name();
            let words = [format!("--{name}=u://h"), format!("--{name}-ca=/ca"), format!("--{name}-cert=c")];
            let words = words.into_iter().chain([format!("--{name}-key=k")]);
            let given = command.clone().get_matches_from(["lockbench".to_owned()].into_iter().chain(words));
            let urls = ServerUrls::from_arg_matches(&given).unwrap();
            let files = TlsFiles { ca: Some("/ca".into()), cert: Some("c".into()), key: Some("k".into()) };
            assert_eq!(TlsFiles::of(&urls.by_kind()[kind]), files, "{kind}");
            let alone = command.clone().try_get_matches_from(["lockbench", &format!("--{name}-ca=/ca")]);
            assert!(alone.is_err(), "{kind}: a certificate of no server");
        }
    }
}

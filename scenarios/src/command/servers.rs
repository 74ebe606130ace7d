//! Servers on the command line: an option for each product of the registry.

use std::collections::BTreeMap;

use clap::error::Error;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use harness::servers::ServerKind;

/// Servers that already run, instead of private ones: `--redis URL` or `LOCKBENCH_REDIS`, and so on.
#[derive(Debug)]
pub(super) struct ServerUrls(BTreeMap<ServerKind, String>);

impl ServerUrls {
    /// Those that are given.
    pub(super) fn by_kind(&self) -> &BTreeMap<ServerKind, String> {
        &self.0
    }
}

impl Args for ServerUrls {
    fn augment_args(command: Command) -> Command {
        command.args(ServerKind::ALL.iter().map(|kind| option(*kind)))
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

impl FromArgMatches for ServerUrls {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = |kind: &ServerKind| Some((*kind, matches.get_one::<String>(kind.name())?.clone()));
        Ok(Self(ServerKind::ALL.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
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
}

//! What a verb of the command line is.

use std::pin::Pin;

use clap::{ArgMatches, Args, Command};

/// What a person wants; the help lists verbs by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Figures and verdicts that were not there before.
    Measure,
    /// A verdict on what is there.
    Judge,
    /// What there is.
    Look,
    /// Nodes elsewhere than in the driver.
    Place,
}

impl Group {
    /// In the order of the help.
    pub(super) const ALL: [Self; 4] = [Self::Measure, Self::Judge, Self::Look, Self::Place];

    /// Its heading there.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Measure => "Measure",
            Self::Judge => "Judge",
            Self::Look => "Look",
            Self::Place => "Place",
        }
    }
}

/// The arguments of a verb, and what it does with them: one file, one line in [`VERBS`](super::verbs::VERBS).
pub(super) trait Work: Args {
    /// The word on the command line.
    const NAME: &str;
    /// Where the help lists it.
    const GROUP: Group;

    /// Does it; the exit code. An error is told on standard error and ends in exit code 2.
    async fn work(self) -> anyhow::Result<u8>;
}

/// A verb at work: its exit code.
pub(super) type Working = Pin<Box<dyn Future<Output = anyhow::Result<u8>>>>;

/// A verb of the command line.
#[derive(Debug)]
pub(super) struct Verb {
    /// The word on the command line.
    pub(super) name: &'static str,
    /// Where the help lists it.
    pub(super) group: Group,
    /// Its arguments.
    pub(super) command: fn() -> Command,
    /// Begins with the arguments given.
    pub(super) begin: fn(&ArgMatches) -> Result<Working, clap::Error>,
}

impl Verb {
    /// The verb that these are the arguments of.
    pub(super) const fn of<W: Work + 'static>() -> Self {
        Self { name: W::NAME, group: W::GROUP, command: command::<W>, begin: begin::<W> }
    }
}

fn command<W: Work>() -> Command {
    W::augment_args(Command::new(W::NAME))
}

fn begin<W: Work + 'static>(given: &ArgMatches) -> Result<Working, clap::Error> {
    let arguments = W::from_arg_matches(given)?;
    Ok(Box::pin(arguments.work()))
}

//! What a verb of the command line is.

use std::pin::Pin;

use clap::builder::Styles;
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
    /// What was not measured.
    Foresee,
    /// Something of one's own.
    Extend,
    /// Nodes elsewhere than in the driver.
    Place,
}

impl Group {
    /// In the order of the help.
    pub(super) const ALL: [Self; 6] =
        [Self::Measure, Self::Judge, Self::Look, Self::Foresee, Self::Extend, Self::Place];

    /// Its heading there.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Measure => "Measure",
            Self::Judge => "Judge",
            Self::Look => "Look",
            Self::Foresee => "Foresee",
            Self::Extend => "Extend",
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
    /// What `--help` shows beside its options.
    const EXAMPLES: &[Example] = &[];

    /// Does it; the exit code. An error is told on standard error and ends in exit code 2.
    async fn work(self) -> anyhow::Result<u8>;
}

/// A verb that tells of the command line itself.
pub(super) trait Tell: Args {
    /// The word on the command line.
    const NAME: &str;
    /// Where the help lists it.
    const GROUP: Group;
    /// What `--help` shows beside its options.
    const EXAMPLES: &[Example];

    /// Tells of the whole command line.
    fn tell(self, whole: Command) -> anyhow::Result<()>;
}

/// What somebody may want, and the command for it.
pub(super) type Example = (&'static str, &'static str);

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
    arguments: fn() -> Command,
    /// What `--help` shows beside its options.
    pub(super) examples: &'static [Example],
    /// Begins with the arguments given, beside the whole command line.
    pub(super) begin: fn(&ArgMatches, Command) -> Result<Working, clap::Error>,
}

impl Verb {
    /// The verb that these are the arguments of.
    pub(super) const fn of<W: Work + 'static>() -> Self {
        Self {
            name: W::NAME,
            group: W::GROUP,
            examples: W::EXAMPLES,
            arguments: || W::augment_args(Command::new(W::NAME)),
            begin: begin::<W>,
        }
    }

    /// Its part of the command line, with its examples in `--help` before what else stands there.
    pub(super) fn command(&self) -> Command {
        let command = (self.arguments)();
        if self.examples.is_empty() {
            return command;
        }
        let styles = Styles::styled();
        let (heading, literal) = (styles.get_header(), styles.get_literal());
        let example = |(what, line): &Example| format!("  {what}:\n    {literal}{line}{literal:#}");
        let list = self.examples.iter().map(example).collect::<Vec<_>>().join("\n");
        let said = command.get_after_long_help().or_else(|| command.get_after_help());
        let said = said.map(|text| format!("\n\n{}", text.ansi())).unwrap_or_default();
        command.after_long_help(format!("{heading}Examples:{heading:#}\n{list}{said}"))
    }

    /// The verb that tells of the command line, with these arguments.
    pub(super) const fn telling<T: Tell + 'static>() -> Self {
        Self {
            name: T::NAME,
            group: T::GROUP,
            examples: T::EXAMPLES,
            arguments: || T::augment_args(Command::new(T::NAME)),
            begin: |given, whole| {
                let arguments = T::from_arg_matches(given)?;
                Ok(Box::pin(async { arguments.tell(whole).map(|()| 0) }))
            },
        }
    }
}

fn begin<W: Work + 'static>(given: &ArgMatches, _: Command) -> Result<Working, clap::Error> {
    let arguments = W::from_arg_matches(given)?;
    Ok(Box::pin(arguments.work()))
}

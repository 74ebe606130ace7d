//! `lockbench peers`: the locks that people use beside ours, question by question.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use harness::record::{Conclusion, PeersQuestion, PeersRecord, SCHEMA_VERSION, write_json};
use tokio_util::sync::CancellationToken;

use super::guests::guest;
use super::how::{Aim, HowArgs, about_s, span};
use super::several::{IfFailed, Part, Several, Told};
use super::signals::watch_signals;
use super::verb::{Example, Group, Work};
use crate::batch::{self, Show as _};
use crate::port::FILE;
use crate::progress::Display;
use crate::spec::{Scenario, did_you_mean};
use crate::{catalog, workload};

/// Put the libraries that people use beside lockbench's own locks: same servers, load and faults, in turns, everybody over the port.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(super) struct Peers {
    /// Every folder in this one that has a contender.toml takes part; what cannot be built is left out, with how to get what is missing.
    #[arg(long, default_value = "clients", value_name = "DIR")]
    clients: PathBuf,
    /// Only these questions, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "QUESTION")]
    questions: Vec<String>,
    /// One block of a few seconds for each question.
    #[arg(long)]
    quick: bool,
    /// Says which questions there are, and runs nothing.
    #[arg(long)]
    list: bool,
    /// Goes on with what was stopped, in its directory: its questions, seed and contenders.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["clients", "questions", "quick", "list", "seed", "contenders", "with", "out"])]
    resume: Option<PathBuf>,
    #[command(flatten)]
    how: HowArgs,
}

const HELP: &str = "\
With --contenders only those of both take part. A question is a batch of its own, and the file peers.md in its folder is the document \
docs/peers.md.

Exit codes: 0 all did as was foretold of their class, 3 somebody did other, 4 some questions are not proven.";

/// Of ours, over the port as all others are: of each server the one that is taken first, and those that hand over in order.
const OURS: [&str; 6] = ["redis-fenced", "redis-queue", "etcd-cas", "etcd-queue", "zk-seq", "pg-lease"];

/// Something that is asked of everybody.
struct Question {
    name: &'static str,
    words: &'static str,
    /// Of the catalogue, and how it is set.
    scenario: &'static str,
    set: &'static [(&'static str, &'static str)],
}

/// Names, each with why, and how to get what is missing.
type LeftOut = Vec<(String, String)>;

/// The controls that prove a bench; everybody else is named by the command.
const CONTROLS: (&str, &str) = ("contenders", "[\"noop\", \"none\"]");

/// In the order in which they are asked.
const QUESTIONS: &[Question] = &[
    Question {
        name: "pair",
        words: "nobody else asks: what does it take to get a lock?",
        scenario: "hot-key",
        set: &[("nodes", "1"), ("rate_per_s", "50.0"), ("resources.vm.count", "1000"), ("blocks", "6")],
    },
    Question {
        name: "distinct",
        words: "128 callers hold at a time, each another key, 640 come in a second: what does it take on one node?",
        scenario: "hot-key",
        set: &[
            ("nodes", "1"),
            ("rate_per_s", "640.0"),
            ("resources.vm.count", "100000"),
            ("tasks", "[{ name = \"change-vm\", weight = 1.0, step = { resource = \"vm\", hold_s = 0.2 } }]"),
            ("blocks", "3"),
        ],
    },
    Question {
        name: "hot-key",
        words: "400 ask for one key at once, on four nodes: how fast does it go from hand to hand, and in whose order?",
        scenario: "thundering-1000",
        set: &[("nodes", "4"), ("burst", "400"), ("resources.host.level", "1"), ("blocks", "3")],
    },
    Question {
        name: "held",
        words: "somebody holds for 200 ms: what does waiting cost the server?",
        scenario: "hot-key",
        set: &[
            ("rate_per_s", "4.0"),
            ("tasks", "[{ name = \"change-vm\", weight = 1.0, step = { resource = \"vm\", hold_s = 0.2 } }]"),
            ("duration_s", "20.0"),
            ("blocks", "3"),
        ],
    },
    Question {
        name: "holder-kill",
        words: "the holder dies: after what time is its key free?",
        scenario: "holder-kill",
        set: &[],
    },
    Question {
        name: "holder-pause",
        words: "the holder stands still for longer than its lease, and writes: who is let in beside it?",
        scenario: "holder-pause",
        set: &[],
    },
    Question {
        name: "server-restart",
        words: "the server is killed and comes back, and has written before it answered: does it know who holds?",
        scenario: "server-kill",
        set: &[("durability", "\"durable\"")],
    },
    Question {
        name: "one-way-cut",
        words: "requests of the holder's node arrive at the server, answers do not: who is let in beside it?",
        scenario: "holder-cut",
        set: &[(
            "faults",
            "[{ verb = \"cut\", target = \"holder\", link = \"server\", way = \"from-server\", every_s = 2.0, for_ms = 4000.0 }]",
        )],
    },
];

/// What makes every question short, and shows something of it with a single fault.
const QUICK: &[(&str, &str)] = &[("blocks", "1"), ("least_faults", "1")];
const QUICK_S: f64 = 15.0;

impl Question {
    /// The scenario as it runs here.
    fn scenario(&self, quick: bool) -> anyhow::Result<Scenario> {
        let own = self.set.iter().chain([&CONTROLS]).chain(QUICK.iter().filter(|_| quick));
        let mut settings: Vec<_> = own.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let usual = catalog::load(self.scenario, &settings)?;
        if let Some(duration_s) = usual.spec.duration_s.filter(|duration_s| quick && *duration_s > QUICK_S) {
            // Faults come as often as in the long one.
            settings.push(("duration_s".to_owned(), format!("{:?}", QUICK_S.min(duration_s))));
            return Ok(catalog::load(self.scenario, &settings)?);
        }
        Ok(usual)
    }
}

impl Work for Peers {
    const NAME: &str = "peers";
    const GROUP: Group = Group::Measure;
    const EXAMPLES: &[Example] = &[
        ("What is asked", "lockbench peers --list"),
        ("Two questions, of some of them, in a few seconds", "lockbench peers --questions pair,held --quick"),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        if self.list {
            for Question { name, words, .. } in self.chosen()? {
                super::print::print(&format!("{name:<16} {words}"));
            }
            return Ok(0);
        }
        let stop = CancellationToken::new();
        // Before the first child of ours is started, if only to be asked for its version.
        let mut signals = tokio::task::JoinSet::new();
        signals.spawn(watch_signals(stop.clone())?);
        let display = Display::default();
        let (peers, directory) = match &self.resume {
            Some(folder) => (reports::Peers::load(folder)?.record, folder.clone()),
            None => self.begun(&stop, &display).await?,
        };
        let code = self.run(&peers, &directory, &stop, &display).await?;
        if stop.is_cancelled() {
            display.line(&format!("the rest of it: lockbench peers --resume {}", directory.display()));
        }
        Ok(code)
    }
}

impl Peers {
    /// The questions that were asked for.
    fn chosen(&self) -> anyhow::Result<Vec<&'static Question>> {
        let names = || QUESTIONS.iter().map(|question| question.name);
        for name in &self.questions {
            let meant = || did_you_mean(name, names());
            let all = || names().collect::<Vec<_>>().join(", ");
            ensure!(
                names().any(|known| known == name),
                "--questions: unknown question `{name}`{}; there are {}",
                meant(),
                all()
            );
        }
        let asked = |name: &str| self.questions.is_empty() || self.questions.iter().any(|one| one == name);
        Ok(QUESTIONS.iter().filter(|question| asked(question.name)).collect())
    }

    /// Who can take part, as `--with` takes it, and who cannot.
    fn taking_part(&self) -> anyhow::Result<(Vec<String>, LeftOut)> {
        let asked = self.how.contenders();
        let is_asked = |name: &str| asked.is_empty() || asked.iter().any(|one| one == name);
        let (mut with, mut left_out) = (Vec::new(), Vec::new());
        let folders = folders(&self.clients)?;
        let name_of =
            |folder: &PathBuf| folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let known: Vec<String> = folders.iter().map(name_of).chain(OURS.map(str::to_owned)).collect();
        if let Some(unknown) = asked.iter().find(|name| !known.contains(name)) {
            let meant = did_you_mean(unknown, known.iter().map(String::as_str));
            bail!("--contenders: unknown contender `{unknown}`{meant}; there are {}", known.join(", "));
        }
        for folder in folders {
            let name = name_of(&folder);
            if !is_asked(&name) {
                continue;
            }
            let folder = folder.display().to_string();
            match guest(&folder) {
                Ok(_) => with.push(folder),
                Err(error) => left_out.push((name, format!("{error:#}"))),
            }
        }
        with.extend(OURS.iter().filter(|name| is_asked(name)).map(|name| (*name).to_owned()));
        ensure!(!with.is_empty(), "nobody of those that were asked for can take part");
        Ok((with, left_out))
    }

    /// All of it, in a new directory. All that can be refused is refused before anything runs.
    async fn begun(
        &self,
        stop: &CancellationToken,
        display: &Display,
    ) -> anyhow::Result<(PeersRecord, PathBuf)> {
        ensure!(!self.how.pins(), "--pin deals out the processors once, and questions may need other shares");
        let chosen = self.chosen()?;
        let (with, left_out) = self.taking_part()?;
        for (name, why) in &left_out {
            display.line(&format!("left out: {name}: {why}"));
        }
        let how = self.how.with_guests(&with);
        let (mut questions, mut takes_s, mut seed) = (Vec::new(), 0.0, None);
        for question in chosen {
            let Question { name, words, .. } = question;
            let scenario = question.scenario(self.quick)?;
            let seed = *seed.get_or_insert_with(|| how.seed(&scenario));
            let spec_toml = scenario.text.clone();
            let asked = how.asked(scenario, seed, Aim::default(), stop).await;
            takes_s += about_s(&asked.with_context(|| format!("question {name}"))?);
            questions.push(PeersQuestion {
                name: (*name).to_owned(),
                question: (*words).to_owned(),
                spec_toml,
                folder: (*name).to_owned(),
            });
        }
        let seed = seed.unwrap_or_else(workload::fresh_seed);
        display.line(&format!("{} questions, about {}", questions.len(), span(takes_s)));
        let started = jiff::Timestamp::now();
        let directory = batch::new_directory(self.how.out(), "peers", started)?;
        let peers = PeersRecord {
            schema_version: SCHEMA_VERSION,
            seed,
            started_utc: started.to_string(),
            command: self.again(seed),
            with,
            left_out,
            questions,
        };
        write_json(&directory.join(PeersRecord::FILE), &peers)?;
        Ok((peers, directory))
    }

    /// The command that asks the same again.
    fn again(&self, seed: u64) -> String {
        let list = |option: &str, of: &[String]| match of {
            [] => String::new(),
            of => format!(" --{option} {}", of.join(",")),
        };
        let quick = if self.quick { " --quick" } else { "" };
        let (questions, contenders) =
            (list("questions", &self.questions), list("contenders", self.how.contenders()));
        format!("lockbench peers{quick}{questions}{contenders} --seed {seed}")
    }

    async fn run(
        &self,
        peers: &PeersRecord,
        directory: &Path,
        stop: &CancellationToken,
        display: &Display,
    ) -> anyhow::Result<u8> {
        let how = self.how.with_guests(&peers.with);
        let origin = directory.join(PeersRecord::FILE).display().to_string();
        let part = |question: &PeersQuestion| {
            Ok(Part {
                words: format!("{}: {}", question.name, question.question),
                folder: directory.join(&question.folder),
                scenario: Scenario::parse(&origin, &question.spec_toml, &[])?,
                aim: Aim::default(),
            })
        };
        let parts = peers.questions.iter().map(part).collect::<anyhow::Result<Vec<_>>>()?;
        let (seed, if_failed) = (peers.seed, IfFailed::GoOn);
        let several =
            Several { noun: "question", directory, seed, budget: None, whole: None, if_failed, parts };
        let told = |directory: &Path| {
            let done = reports::Peers::load(directory)?;
            Ok(Told { text: done.terminal(), exit_code: Conclusion::gravest_exit(done.exit_codes()) })
        };
        several.run(&how, stop, display, told).await
    }
}

/// The contenders in a folder, by name.
fn folders(clients: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = clients.read_dir().with_context(|| format!("--clients {}", clients.display()))?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.retain(|folder| folder.join(FILE).is_file());
    folders.sort();
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_is_a_scenario_that_names_nobody_but_controls_also_where_it_is_short() {
        for question in QUESTIONS {
            for quick in [false, true] {
                let spec = question
                    .scenario(quick)
                    .unwrap_or_else(|error| panic!("{}: {error}", question.name))
                    .spec;
                let named: Vec<_> = spec.contenders.iter().map(|name| name.get_ref().as_str()).collect();
                assert_eq!(named, ["noop", "none"], "{}", question.name);
                assert!(!quick || spec.blocks == 1 && spec.duration_s.is_none_or(|s| s <= QUICK_S));
            }
        }
    }

    #[test]
    fn ours_are_locks_that_can_be_asked_over_the_port() {
        for name in OURS {
            assert_eq!(guest(name).unwrap().name, format!("{name}-port"));
        }
    }
}

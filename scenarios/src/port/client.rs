//! A client contender: a folder with a `contender.toml`, which says what its program promises, how it is built and started.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::fingerprint;
use harness::program::{Account, Program};
use harness::record::Survives;
use harness::servers::ServerKind;
use serde::{Deserialize, Serialize};

use super::message::Promises;
use crate::spec::SpecError;

/// The file that makes a folder a contender.
pub const FILE: &str = "contender.toml";

/// How many of the last lines of a build are shown when it fails.
const SHOWN: usize = 20;

/// A program that takes part, and all that is known of it before it runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Client {
    /// As its file says.
    pub file: ClientFile,
    /// Where it is and works; `None` of a program of ours.
    pub folder: Option<PathBuf>,
}

/// A `contender.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientFile {
    /// Name on the command line and in reports: lower-case letters, digits and dashes.
    pub name: String,
    /// One sentence on how it works.
    pub summary: String,
    /// The server that it needs, as on the command line; left out: none.
    pub server: Option<String>,
    /// The program and its arguments; a path is meant from the folder.
    pub command: Vec<String>,
    /// What makes it ready to run, in the folder, before every batch; so it should have little to do when nothing has changed.
    pub build: Option<Vec<String>>,
    /// How to get the programs that it is built and started with.
    pub get: Option<String>,
    /// Files and folders beside this one that it is made of too, as paths from here: with all that is in this folder they make its
    /// digest, which is in the record.
    #[serde(default)]
    pub made_of: Vec<PathBuf>,
    /// What it can do; left out: nothing of it.
    #[serde(default)]
    pub promises: Promises,
    /// What a grant survives, in words for the report.
    #[serde(default)]
    pub survives: SurvivesWords,
}

/// What a grant survives; what is left out is not known.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SurvivesWords {
    /// The holder's node crashes.
    pub node_crash: Option<String>,
    /// The server is killed and started again.
    pub server_kill: Option<String>,
    /// The server's machine loses power.
    pub power_loss: Option<String>,
}

/// Why a folder is no contender.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file cannot be read.
    #[error("{}: {source}; a folder with a {FILE} is a contender, and `lockbench port new` writes one", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something that it is made of cannot be read.
    #[error("{}: what it is made of cannot be read: {source}", .folder.display())]
    MadeOf {
        /// Where it is.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It says what nobody understands.
    #[error(transparent)]
    File(#[from] SpecError),
    /// What it is built or started with is not on this machine.
    #[error("`{program}` is not on this machine{}", .get.as_ref().map(|get| format!(": {get}")).unwrap_or_default())]
    Missing {
        /// The program.
        program: String,
        /// How to get it.
        get: Option<String>,
    },
    /// It could not be built.
    #[error("building {} failed ({how}):\n{output}", .folder.display())]
    Build {
        /// Where.
        folder: PathBuf,
        /// How its build ended.
        how: String,
        /// The end of what that printed.
        output: String,
    },
}

impl Client {
    /// That of a folder.
    ///
    /// # Errors
    /// When it has no file, or one that says what nobody understands.
    pub fn load(folder: &Path) -> Result<Self, ClientError> {
        let path = folder.join(FILE);
        let failed = |source| ClientError::Read { path: path.clone(), source };
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        let folder = folder.canonicalize().map_err(failed)?;
        let file = ClientFile::parse(&path.display().to_string(), &text)?;
        Ok(Self { file, folder: Some(folder) })
    }

    /// Builds it, where there is something to build, as whoever runs lockbench.
    ///
    /// # Errors
    /// When something is missing, or its build fails.
    pub fn build(&self) -> Result<(), ClientError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let commands = [self.file.build.as_deref(), Some(&*self.file.command)];
        if let Some(build) = &self.file.build {
            let program = self.present(build)?;
            let mut command = Command::new(program);
            let ended = command.args(&build[1..]).current_dir(folder).output();
            let failed =
                |how: String, output: String| ClientError::Build { folder: folder.clone(), how, output };
            let output = ended.map_err(|error| failed(error.to_string(), build.join(" ")))?;
            if !output.status.success() {
                let text = [output.stdout, output.stderr].concat();
                let text = String::from_utf8_lossy(&text);
                let lines: Vec<&str> = text.lines().collect();
                let end = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
                return Err(failed(output.status.to_string(), end));
            }
        }
        for command in commands.into_iter().flatten() {
            self.present(command)?;
        }
        Ok(())
    }

    /// The program of a command, if it is there.
    fn present(&self, command: &[String]) -> Result<PathBuf, ClientError> {
        let program = &command[0];
        let missing = || ClientError::Missing { program: program.clone(), get: self.file.get.clone() };
        if !program.contains('/') {
            return if Program::is_on_path(program) { Ok(program.into()) } else { Err(missing()) };
        }
        let path = self.folder.as_ref().map_or_else(|| program.into(), |folder| folder.join(program));
        if path.is_file() { Ok(path) } else { Err(missing()) }
    }

    /// What it is made of, in a few letters; `None` of a program of ours.
    ///
    /// # Errors
    /// When something of it cannot be read.
    pub fn digest(&self) -> Result<Option<String>, ClientError> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let beside: Vec<PathBuf> = self.file.made_of.iter().map(|path| folder.join(path)).collect();
        let all: Vec<&Path> = [folder].into_iter().chain(&beside).map(PathBuf::as_path).collect();
        let failed = |source| ClientError::MadeOf { folder: folder.clone(), source };
        fingerprint::of(&all).map(Some).map_err(failed)
    }

    /// As whom it runs: a program of ours as we do.
    #[must_use]
    pub fn account(&self) -> Account {
        if self.folder.is_some() { Account::Unprivileged } else { Account::Ours }
    }

    /// Its server.
    #[must_use]
    pub fn server(&self) -> Option<ServerKind> {
        self.file.server.as_ref().map(|name| name.parse().expect("it was parsed when it was read"))
    }

    /// What a grant of it survives.
    #[must_use]
    pub fn survives(&self) -> Survives {
        let said =
            |words: &Option<String>| words.clone().unwrap_or_else(|| "its author does not say".to_owned());
        let SurvivesWords { node_crash, server_kill, power_loss } = &self.file.survives;
        Survives {
            node_crash: said(node_crash),
            server_kill: said(server_kill),
            power_loss: said(power_loss),
        }
    }
}

impl ClientFile {
    /// Whether a contender may be called so.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn named(name: &str) -> Result<(), String> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits) {
            return Ok(());
        }
        Err(format!("`{name}` must be lower-case letters, digits and dashes, a letter first"))
    }

    fn parse(origin: &str, text: &str) -> Result<Self, SpecError> {
        let file: Self = toml::from_str(text).map_err(|error| SpecError::toml(origin, &error))?;
        let wrong = |key: &str, what: String| {
            let start = text.find(&format!("\n{key}")).map_or(0, |at| at + 1);
            SpecError::at(origin, text, start, what)
        };
        if let Err(what) = Self::named(&file.name) {
            return Err(wrong("name", format!("name: {what}")));
        }
        if let Some(server) = &file.server {
            server.parse::<ServerKind>().map_err(|error| wrong("server", format!("server: {error}")))?;
        }
        for (key, command) in [("command", Some(&file.command)), ("build", file.build.as_ref())] {
            if command.is_some_and(|command| command.first().is_none_or(String::is_empty)) {
                return Err(wrong(key, format!("{key}: names no program")));
            }
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name = \"my-lock\"\nsummary = \"s\"\nserver = \"redis\"\ncommand = [\"python3\", \"client.py\"]\n\n[promises]\ntoken = true\n";

    #[test]
    fn a_file_is_strict_about_its_words_and_says_where_it_is_wrong() {
        assert!(ClientFile::parse("c", GOOD).unwrap().promises.token);
        for (from, to, told) in [
            ("token", "tokn", "did you mean `token`?"),
            ("my-lock", "My Lock", "c, line 1"),
            ("\"redis\"", "\"redes\"", "c, line 3"),
            ("\"python3\", \"client.py\"", "", "c, line 4"),
            ("summary = \"s\"\n", "", "summary"),
        ] {
            let error = ClientFile::parse("c", &GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn the_contenders_of_the_repository_are_called_as_their_folders_and_pin_what_they_are_made_of() {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients");
        let folders = std::fs::read_dir(clients).unwrap().map(|entry| entry.unwrap().path());
        let found: Vec<_> = folders.filter(|folder| folder.join(FILE).is_file()).collect();
        assert!(found.len() >= 4, "{found:?}");
        for folder in found {
            let client = Client::load(&folder).unwrap();
            assert_eq!(Some(&*client.file.name), folder.file_name().and_then(|name| name.to_str()));
            assert!(client.file.build.is_some() && client.file.get.is_some(), "{folder:?}");
            // What is around the library, and what pins it to the last byte.
            assert!(!client.file.made_of.is_empty() && client.digest().unwrap().is_some(), "{folder:?}");
            let mut places =
                client.file.made_of.iter().map(|beside| folder.join(beside)).chain([folder.clone()]);
            let locks = ["requirements.txt", "go.sum", "checksums.sha256", "package-lock.json"];
            let lock = places
                .find_map(|place| locks.map(|lock| place.join(lock)).into_iter().find(|lock| lock.is_file()));
            let lock = lock.unwrap_or_else(|| panic!("{folder:?}: no lock file"));
            let pinned = std::fs::read_to_string(&lock).unwrap();
            if lock.ends_with("requirements.txt") {
                let lines: Vec<&str> = pinned.lines().filter(|line| !line.starts_with('#')).collect();
                let whole = |line: &&str| line.contains("==") && line.contains("--hash=sha256:");
                assert!(!lines.is_empty() && lines.iter().all(whole), "{pinned}");
            }
            assert!(pinned.lines().count() > 0, "{lock:?} pins nothing");
        }
    }

    #[test]
    fn what_is_missing_is_told_with_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let none = Client::load(folder.path()).unwrap_err().to_string();
        assert!(none.contains("contender.toml") && none.contains("port new"), "{none}");
        let text =
            GOOD.replace("python3", "no-such-program").replace("server", "get = \"look elsewhere\"\nserver");
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let missing = Client::load(folder.path()).unwrap().build().unwrap_err().to_string();
        assert!(missing.contains("no-such-program") && missing.contains("look elsewhere"), "{missing}");
    }

    #[test]
    fn a_build_that_fails_shows_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let text =
            GOOD.replace("server", "build = [\"sh\", \"-c\", \"seq 100; echo no luck >&2; exit 3\"]\nserver");
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let failed = Client::load(folder.path()).unwrap().build().unwrap_err().to_string();
        assert!(failed.contains("no luck") && failed.contains("exit status: 3"), "{failed}");
        assert!(failed.contains("\n100\n") && !failed.contains("\n7\n"), "{failed}");
    }
}

//! `lockbench port new`: a program that speaks the port, to begin with.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};

use crate::command::print::print;
use crate::port::ClientFile;

#[derive(Debug, Args)]
pub(super) struct New {
    /// The language that it is written in.
    #[arg(long)]
    language: Language,
    /// The folder that is made; its last part is the contender's name.
    #[arg(default_value = "my-lock")]
    folder: PathBuf,
}

/// A language that there is a skeleton in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Python,
    Go,
    Java,
    Node,
    Rust,
}

/// The text that stands for the contender's name in a skeleton.
const NAME: &str = "my-lock";

/// A file of a skeleton.
type File = (&'static str, &'static str);

const README: &str = include_str!("../../../skeletons/README.md");

impl Language {
    fn files(self) -> &'static [File] {
        match self {
            Self::Python => &[
                ("contender.toml", include_str!("../../../skeletons/python/contender.toml")),
                ("client.py", include_str!("../../../skeletons/python/client.py")),
            ],
            Self::Go => &[
                ("contender.toml", include_str!("../../../skeletons/go/contender.toml")),
                ("go.mod", include_str!("../../../skeletons/go/go.mod.txt")),
                ("main.go", include_str!("../../../skeletons/go/main.go")),
            ],
            Self::Java => &[
                ("contender.toml", include_str!("../../../skeletons/java/contender.toml")),
                ("Client.java", include_str!("../../../skeletons/java/Client.java")),
            ],
            Self::Node => &[
                ("contender.toml", include_str!("../../../skeletons/node/contender.toml")),
                ("client.mjs", include_str!("../../../skeletons/node/client.mjs")),
            ],
            Self::Rust => &[
                ("contender.toml", include_str!("../../../skeletons/rust/contender.toml")),
                ("Cargo.toml", include_str!("../../../skeletons/rust/Cargo.toml.txt")),
                ("src/main.rs", include_str!("../../../skeletons/rust/src/main.rs.txt")),
            ],
        }
    }
}

impl New {
    pub(super) fn work(&self) -> anyhow::Result<u8> {
        let folder = &self.folder;
        let name = folder.file_name().and_then(|name| name.to_str()).context("the folder has no name")?;
        ClientFile::named(name).map_err(anyhow::Error::msg)?;
        ensure!(!folder.exists(), "{} is there already", folder.display());
        let readme = ("README.md", README);
        for (file, text) in self.language.files().iter().chain([&readme]) {
            write(&folder.join(file), &text.replace(NAME, name))
                .with_context(|| format!("cannot write {}", folder.join(file).display()))?;
        }
        print(&format!(
            "{0}: a plain lock on Redis, which README.md there says how to change.\n\n  lockbench port test {0}",
            folder.display()
        ));
        Ok(0)
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)
}

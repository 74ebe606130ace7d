//! `lockbench completions`: what a shell needs to complete the words of lockbench.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::print::print;
use super::verb::{Example, Group, Tell};

/// Write what a shell needs to complete verbs and options of lockbench.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Tell for Completions {
    const NAME: &str = "completions";
    const GROUP: Group = Group::Look;
    const EXAMPLES: &[Example] = &[
        ("In bash, for this session", "lockbench completions bash"),
        ("In zsh, into a folder of $fpath as _lockbench", "lockbench completions zsh"),
        ("In fish, into ~/.config/fish/completions/lockbench.fish", "lockbench completions fish"),
    ];

    fn tell(self, mut whole: Command) -> anyhow::Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut whole, "lockbench", &mut script);
        print(String::from_utf8_lossy(&script).trim_end());
        Ok(())
    }
}

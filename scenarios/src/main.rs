//! `lockbench`: see `lockbench --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    scenarios::command::main()
}

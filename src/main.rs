//! The `quorate` program: hands its arguments to the library and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate::cli::main(std::env::args_os())
}

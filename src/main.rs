//! The `quorate` program: hands its arguments to the library and returns its exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use quorate::cluster::shell::child;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    // Not for people, and it must stay small: what it becomes is etcd.
    if args.get(1).is_some_and(|arg| arg == child::SUBCOMMAND) {
        let rest = args.into_iter().skip(2).skip_while(|arg| arg == "--").collect();
        let error = child::exec_child(rest);
        eprintln!("etcd cannot be started: {error}");
        return ExitCode::FAILURE;
    }
    quorate::cli::main(args)
}

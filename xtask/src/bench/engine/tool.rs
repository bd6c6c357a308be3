//! The agent and its peers: where they are, and how each is told to do the work once.
//!
//! Refuses to install anything.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::work::{self, Shape};

/// Which language a tool reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Quorate,
    Cfengine,
    Puppet,
    Salt,
}

/// Something that can do the work.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    /// Its name in the tables.
    pub(super) name: &'static str,
    pub(super) language: Language,
    pub(super) program: PathBuf,
    /// The largest work that it is asked for unless all is: the slow ones take minutes.
    pub(super) most: usize,
}

/// Peers by name: language, program, the package that has it, and the largest work.
const PEERS: [(&str, Language, &str, &str, usize); 3] = [
    ("cfengine", Language::Cfengine, "cf-agent", "Debian package cfengine3", 100_000),
    ("puppet", Language::Puppet, "puppet", "Debian package puppet-agent", 1000),
    ("salt", Language::Salt, "salt-call", "PyPI package salt", 1000),
];

/// The peers that are installed; a sentence for each that is not.
pub(super) fn peers() -> (Vec<Tool>, Vec<String>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (name, language, program, package, most) in PEERS {
        match on_path(program) {
            Some(program) => found.push(Tool { name, language, program, most }),
            None => missing.push(format!("{name} is left out: no `{program}` ({package})")),
        }
    }
    (found, missing)
}

/// Where a program lies.
pub(super) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|it| it.is_file())
}

impl Tool {
    /// The agent itself.
    pub(super) fn quorate(program: &Path) -> Tool {
        let program = program.to_owned();
        Tool { name: "quorate", language: Language::Quorate, program, most: usize::MAX }
    }

    /// Writes the work into `folder` and gives the command that does it into `target`.
    pub(super) fn prepare(
        &self,
        shape: Shape,
        n: usize,
        folder: &Path,
        target: &Path,
    ) -> anyhow::Result<Vec<OsString>> {
        let (file, text) = match self.language {
            Language::Quorate => ("site.yaml", work::quorate(shape, n, target, "")),
            Language::Cfengine => ("main.cf", work::cfengine(shape, n, target)),
            Language::Puppet => ("main.pp", work::puppet(shape, n, target)),
            Language::Salt => ("states/work.sls", work::salt(shape, n, target)),
        };
        let file = folder.join(file);
        fs::create_dir_all(file.parent().unwrap_or(folder)).context("cannot make a folder")?;
        fs::write(&file, text).context("cannot write the work")?;
        // cf-agent refuses policies that others may write.
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        let mut command = vec![self.program.clone().into_os_string()];
        command.extend(self.arguments(&file, folder)?);
        Ok(command)
    }

    fn arguments(&self, file: &Path, folder: &Path) -> anyhow::Result<Vec<OsString>> {
        let text = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let mut arguments = match self.language {
            Language::Quorate => once(folder),
            Language::Cfengine => text(&["-K", "-f"]),
            Language::Puppet => {
                let mut all = text(&["apply", "--color=false"]);
                for part in ["var", "conf", "run", "log"] {
                    all.push(format!("--{part}dir={}/{part}", folder.display()).into());
                }
                all
            }
            Language::Salt => {
                let conf = folder.join("conf");
                fs::create_dir_all(&conf).context("cannot make a folder")?;
                let at = folder.display();
                let minion = format!(
                    "file_client: local\nid: bench\nroot_dir: {at}/root\nlog_level: \
                     warning\nstate_output: terse\nstate_verbose: false\nfile_roots:\n  base:\n    \
                     - {at}/states\n"
                );
                fs::write(conf.join("minion"), minion)?;
                let mut all = text(&["--local", "-c"]);
                all.push(conf.into());
                all.extend(text(&["--retcode-passthrough", "state.apply", "work"]));
                return Ok(all);
            }
        };
        arguments.push(file.into());
        Ok(arguments)
    }
}

/// The arguments of an agent that ends when all is done, before the graph file.
fn once(folder: &Path) -> Vec<OsString> {
    let mut all: Vec<OsString> = vec!["run".into(), "--prefix".into()];
    all.push(folder.join("state").into());
    let rest = ["--no-watch", "--converged-timeout", "0", "yaml"];
    all.extend(rest.map(OsString::from));
    all
}

//! The same clusters as Compose files, for people who have Compose and no Rust. Rendered from the
//! same types as `up`; never edited by hand.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sha2::{Digest, Sha256};

use super::label::{Lease, Owner};
use super::place::{Place, Site};
use super::spec::{Agent, Wanted, hex};
use super::{limits, spec};
use crate::image::{LABELS, REPOSITORY};
use crate::paths::{self, Exit};

/// A file.
struct Preset {
    name: &'static str,
    nodes: u8,
    voters: u8,
    /// Nodes may change their own network: there is no tool of ours to do it from outside.
    faults: bool,
    /// Outside of what `up` starts with.
    place: Place,
}

const PRESETS: [Preset; 3] = [
    Preset {
        name: "3-node.yaml",
        nodes: 3,
        voters: 3,
        faults: false,
        place: Place { subnet: [10, 91, 250], ports: 23_700 },
    },
    Preset {
        name: "5-node.yaml",
        nodes: 5,
        voters: 3,
        faults: false,
        place: Place { subnet: [10, 91, 251], ports: 23_732 },
    },
    Preset {
        name: "3-node-faults.yaml",
        nodes: 3,
        voters: 3,
        faults: true,
        place: Place { subnet: [10, 91, 252], ports: 23_764 },
    },
];

/// What all nodes share, and the head of the file.
const COMMON: &str = r#"version: "2.4"

x-node: &node
  image: IMAGE
  init: true
  mem_limit: MEMORY
  cpus: CPUS
  pids_limit: 200
  cap_drop: [ALL]
  security_opt: ["no-new-privileges"]
  logging:
    driver: json-file
    options: {max-size: 5m, max-file: "2"}
  healthcheck:
    test: [CMD, /usr/bin/quorate, status, --prefix, STATE]
    interval: 5s
    timeout: 5s
    retries: 6

"#;

const NETWORK: &str = "
networks:
  cluster:
    driver: bridge
    ipam:
      config:
        - subnet: SUBNET
";

/// `cluster compose`: writes the files, or says which differ.
pub(crate) fn compose(check: bool) -> anyhow::Result<ExitCode> {
    let folder = paths::root().join("compose");
    let mut files = vec![(folder.join(".env"), environment())];
    files.extend(PRESETS.iter().map(|preset| (folder.join(preset.name), render(preset))));
    lint(&folder.join("Dockerfile"))?;
    if !check {
        std::fs::create_dir_all(&folder)?;
        for (path, text) in &files {
            std::fs::write(path, text)?;
            println!("{:<10}{}", "written", shown(path));
        }
        return Ok(ExitCode::SUCCESS);
    }
    same(&files, &|path| std::fs::read_to_string(path).ok())?;
    println!("{:<10}{} files and the Dockerfile", "matches", files.len());
    Ok(ExitCode::SUCCESS)
}

/// Whether all files are as they would be written.
fn same(files: &[(PathBuf, String)], read: &dyn Fn(&Path) -> Option<String>) -> anyhow::Result<()> {
    let drifted: Vec<String> = (files.iter())
        .filter(|(path, text)| read(path).as_ref() != Some(text))
        .map(|(path, _)| shown(path))
        .collect();
    if drifted.is_empty() {
        return Ok(());
    }
    let list = drifted.join(", ");
    let text =
        format!("{list}: not what would be written. Write them: cargo xtask cluster compose");
    Err(Exit::error(Exit::FAILED, text))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(paths::root()).unwrap_or(path).display().to_string()
}

fn wanted(nodes: u8, voters: u8) -> Wanted {
    Wanted {
        cluster: "compose".to_owned(),
        nodes,
        voters,
        lease: Lease::Keep,
        // Nobody is there to hand out tokens.
        agent: Agent::Insecure,
        internal: false,
        persist: false,
        memory: limits::MEMORY,
        nano_cpus: limits::NANO_CPUS,
        site: Site::default(),
        image: "${QUORATE_IMAGE}".to_owned(),
        image_key: String::new(),
    }
}

fn environment() -> String {
    format!(
        "# Written by `cargo xtask cluster compose`. `cargo xtask image build` makes the image.\n\
         COMPOSE_PROJECT_NAME=quorate\nQUORATE_IMAGE={REPOSITORY}:latest\n"
    )
}

/// One file. No tag or key that Compose 1.29 does not know.
fn render(preset: &Preset) -> String {
    let (wanted, place) = (wanted(preset.nodes, preset.voters), &preset.place);
    let owner = Owner { place: String::new(), pid: 0, started: 0 };
    let mut body = String::from("services:\n");
    for number in 1..=wanted.nodes {
        let seeds = if number == 1 { vec![] } else { vec![place.address(1)] };
        let node = wanted.node(number, place, &seeds, &owner, 0);
        let command: Vec<String> = node.command.iter().map(|word| format!("{word:?}")).collect();
        body.push_str(&format!(
            "  {host}:\n    <<: *node\n    hostname: {host}\n    command: [{command}]\n",
            host = node.host,
            command = command.join(", "),
        ));
        if let Some((inside, outside)) = node.publish {
            body.push_str(&format!("    ports: [\"127.0.0.1:{outside}:{inside}\"]\n"));
        }
        body.push_str(&format!(
            "    networks:\n      cluster:\n        ipv4_address: {}\n",
            node.address
        ));
    }
    let common = COMMON
        .replace("IMAGE", &wanted.image)
        .replace("MEMORY", &wanted.memory.to_string())
        .replace("CPUS", &(wanted.nano_cpus as f64 / 1e9).to_string())
        .replace("STATE", spec::STATE);
    let common = match preset.faults {
        true => common.replace("[ALL]\n", "[ALL]\n  cap_add: [NET_ADMIN]\n"),
        false => common,
    };
    let network = NETWORK.replace("SUBNET", &place.cidr());
    let text = format!("{common}{body}{network}");
    let digest = hex(&Sha256::digest(text.as_bytes())[..6]);
    let more = match preset.faults {
        true => format!(
            "# Nodes may change their network. To lose what h3 sends to h1, until the node ends:\n\
             # docker-compose -f {} exec h3 ip route add {}/32 dev lo\n",
            preset.name,
            place.address(1)
        ),
        false => String::new(),
    };
    format!(
        "# Written by `cargo xtask cluster compose` {}, spec {digest}. Do not edit.\n\
         # Needs the image: cargo xtask image build. Then, in this folder:\n\
         # docker-compose -f {} up -d\n{more}{text}",
        env!("CARGO_PKG_VERSION"),
        preset.name
    )
}

/// The Dockerfile is for people with a registry; here it is only read: its sources exist, its
/// labels are the image's.
fn lint(path: &PathBuf) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Exit::error(Exit::FAILED, format!("{}: {e}", shown(path))))?;
    let wrong = problems(&text, &|source| paths::root().join(source).exists());
    match wrong.is_empty() {
        true => Ok(()),
        false => {
            let text = format!("{}: {}", shown(path), wrong.join("; "));
            Err(Exit::error(Exit::FAILED, text))
        }
    }
}

fn problems(text: &str, exists: &impl Fn(&str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut labels = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["COPY", first, ..] if first.starts_with("--from=") => {}
            ["COPY", sources @ .., _target] => {
                let missing = sources.iter().filter(|source| !exists(source));
                wrong.extend(
                    missing.map(|source| format!("COPY of {source}, which does not exist")),
                );
            }
            ["LABEL", pairs @ ..] => labels.extend(pairs.iter().map(|pair| (*pair).to_owned())),
            _ => {}
        }
    }
    for (name, value) in LABELS {
        let wanted = format!("{name}={value}");
        if !labels.contains(&wanted) {
            wrong.push(format!("no LABEL {wanted}"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendered_file_has_every_node_with_its_address_and_the_first_as_seed() {
        let text = render(&PRESETS[0]);
        for part in [
            "  h3:\n    <<: *node\n    hostname: h3\n",
            "ipv4_address: 10.91.250.13\n",
            "ports: [\"127.0.0.1:23703:2379\"]\n",
            "\"--seeds\", \"http://10.91.250.11:2379\"",
            "subnet: 10.91.250.0/24\n",
            "image: ${QUORATE_IMAGE}\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert_eq!(text.matches("--seeds").count(), 2);
        assert!(!text.contains("\nname:"), "Compose 1.29 refuses it");
        assert!(!text.contains("NET_ADMIN") && render(&PRESETS[2]).contains("add: [NET_ADMIN]\n"));
    }

    #[test]
    fn the_checked_in_files_are_what_would_be_written() {
        assert!(compose(true).is_ok(), "{:?}", compose(true).err());
    }

    #[test]
    fn a_single_changed_byte_is_noticed() {
        let text = render(&PRESETS[0]);
        let files = [(paths::root().join("compose/3-node.yaml"), text.clone())];
        assert!(same(&files, &|_| Some(text.clone())).is_ok());
        let said = "compose/3-node.yaml: not what would be written. Write them: cargo xtask \
                    cluster compose";
        for at in [0, text.len() / 2, text.len() - 1] {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            let failure = same(&files, &|_| Some(changed.clone())).unwrap_err();
            assert_eq!(failure.to_string(), said);
        }
        assert!(same(&files, &|_| None).is_err());
    }

    #[test]
    fn a_dockerfile_is_read_for_missing_sources_and_labels() {
        let exists = |source: &str| source == "src";
        let good = "FROM x\nCOPY --from=build /a /b\nCOPY src .\nLABEL dev.quorate.schema=1\n";
        assert_eq!(problems(good, &exists), Vec::<String>::new());
        let bad = "FROM x\nCOPY src gone .\nLABEL dev.quorate.schema=2\n";
        assert_eq!(
            problems(bad, &exists),
            ["COPY of gone, which does not exist", "no LABEL dev.quorate.schema=1"]
        );
    }
}

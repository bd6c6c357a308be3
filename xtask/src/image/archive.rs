//! The docker-archive that the engine's load call takes: two layers, a configuration, a manifest.
//! Pure.
//!
//! Loaded, not imported: an import gives a new image every time and leaves the old one behind, a
//! load of the same bytes gives the same image on Docker and on Podman.

use serde_json::json;
use sha2::{Digest, Sha256};

use super::files::Contents;
use super::layer::{Entries, Entry, tar};

/// Repository of node images. Fully qualified, since Podman looks short names up elsewhere.
pub(crate) const REPOSITORY: &str = "localhost/quorate-node";
/// Labels of the image besides its key, for the linter of the Dockerfile.
pub(crate) const LABELS: [(&str, &str); 1] = [("dev.quorate.schema", "1")];
/// What programs in a node find in their environment.
pub(crate) const ENVIRONMENT: [&str; 2] =
    ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "QUORATE_IMAGE=node"];

/// An archive and the key of what is in it.
pub(crate) struct Built {
    /// Digest of both layers, twelve hex digits.
    pub(crate) key: String,
    /// What the load call takes.
    pub(crate) bytes: Vec<u8>,
}

/// Builds the archive. The same contents give the same bytes.
///
/// # Errors
/// A path that tar cannot hold.
pub(crate) fn build(contents: &Contents, arch: &str) -> anyhow::Result<Built> {
    let layers = [tar(&contents.base)?, tar(&contents.agent)?];
    let digests = layers.each_ref().map(|layer| hex(Sha256::digest(layer)));
    let key = hex(Sha256::digest(format!("{}{}{arch}", digests[0], digests[1])))[..12].to_owned();
    let tags = [format!("{REPOSITORY}:{key}"), format!("{REPOSITORY}:latest")];
    let bytes = pack(contents, arch, &key, &tags)?;
    Ok(Built { key, bytes })
}

/// The archive's bytes under a key and tags that the caller chose.
///
/// # Errors
/// A path that tar cannot hold.
pub(crate) fn pack(
    contents: &Contents,
    arch: &str,
    key: &str,
    tags: &[String],
) -> anyhow::Result<Vec<u8>> {
    let layers = [tar(&contents.base)?, tar(&contents.agent)?];
    let digests = layers.each_ref().map(|layer| hex(Sha256::digest(layer)));
    let mut labels: serde_json::Map<String, serde_json::Value> =
        LABELS.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    labels.insert("dev.quorate.image-key".to_owned(), json!(key));
    let config = json!({
        "architecture": arch,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Env": ENVIRONMENT,
            "Cmd": ["/bin/sh"],
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Labels": labels,
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": digests.each_ref().map(|digest| format!("sha256:{digest}")),
        },
        "history": [
            {"created": "1970-01-01T00:00:00Z", "created_by": "etcd, busybox and their libraries"},
            {"created": "1970-01-01T00:00:00Z", "created_by": "the agent"},
        ],
    });
    let config = serde_json::to_vec(&config)?;
    let config_name = format!("{}.json", hex(Sha256::digest(&config)));
    let manifest = json!([{
        "Config": config_name,
        "RepoTags": tags,
        "Layers": digests.each_ref().map(|digest| format!("{digest}/layer.tar")),
    }]);
    let mut entries = Entries::new();
    for (digest, layer) in digests.iter().zip(layers) {
        entries.insert(digest.clone(), Entry::Folder(0o755));
        entries.insert(format!("{digest}/layer.tar"), Entry::File(0o644, layer));
    }
    entries.insert(config_name, Entry::File(0o644, config));
    entries.insert("manifest.json".to_owned(), Entry::File(0o644, serde_json::to_vec(&manifest)?));
    Ok(tar(&entries)?)
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(agent: &[u8]) -> Contents {
        let file = |path: &str, bytes: &[u8]| {
            Entries::from([(path.to_owned(), Entry::File(0o755, bytes.to_vec()))])
        };
        Contents {
            base: file("usr/bin/etcd", b"etcd"),
            agent: file("usr/bin/quorate", agent),
            inputs: vec![],
        }
    }

    #[test]
    fn the_key_changes_with_what_is_inside_and_with_nothing_else() {
        let first = build(&contents(b"one"), "amd64").unwrap();
        let again = build(&contents(b"one"), "amd64").unwrap();
        assert_eq!((&first.key, &first.bytes), (&again.key, &again.bytes));
        assert_eq!(first.key.len(), 12);
        assert_ne!(first.key, build(&contents(b"two"), "amd64").unwrap().key);
        assert_ne!(first.key, build(&contents(b"one"), "arm64").unwrap().key);
    }

    #[test]
    fn every_part_that_the_manifest_names_is_in_the_archive() {
        let built = build(&contents(b"one"), "amd64").unwrap();
        let mut archive = tar::Archive::new(built.bytes.as_slice());
        let mut parts = std::collections::BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            parts.insert(entry.path().unwrap().display().to_string(), bytes);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&parts["manifest.json"]).unwrap();
        let config = manifest[0]["Config"].as_str().unwrap();
        let config: serde_json::Value = serde_json::from_slice(&parts[config]).unwrap();
        let layers = manifest[0]["Layers"].as_array().unwrap();
        assert_eq!(layers.len(), 2);
        for (layer, id) in layers.iter().zip(config["rootfs"]["diff_ids"].as_array().unwrap()) {
            let digest = hex(Sha256::digest(&parts[layer.as_str().unwrap()]));
            assert_eq!(id.as_str().unwrap(), format!("sha256:{digest}"));
        }
        assert_eq!(config["config"]["Labels"]["dev.quorate.image-key"], built.key.as_str());
    }
}

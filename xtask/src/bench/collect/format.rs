//! Hosts that are only keys: records, publishers and presences in the agent's format. Pure.
//!
//! Written anew and not taken from the agent: the toolkit never links its library.

use serde_json::json;
use sha2::{Digest, Sha256};

/// What a simulated host exports: names and contents of files.
pub(super) struct Simulated {
    /// The host.
    pub(super) host: String,
    /// Name and content.
    pub(super) files: Vec<(String, String)>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(content: &str) -> String {
    let fields = json!({"content": content}).to_string();
    format!("sha256:{}", hex(&Sha256::digest(fields)))
}

fn sum(files: &[(String, String)]) -> String {
    let mut lanes = [0_u64; 4];
    for (name, content) in files {
        let mut hash = Sha256::new();
        for part in [name.as_str(), "session", &digest(content)] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        for (lane, bytes) in lanes.iter_mut().zip(hash.finalize().chunks_exact(8)) {
            let value = bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
            *lane = lane.wrapping_add(value);
        }
    }
    lanes.iter().map(|lane| format!("{lane:016x}")).collect()
}

impl Simulated {
    /// The key of what closes its set.
    pub(super) fn publisher_key(&self) -> String {
        format!("/quorate/1/xo/{}", self.host)
    }

    /// The record of one of its files.
    pub(super) fn record(&self, at: usize, generation: u64) -> (String, Vec<u8>) {
        let (name, content) = &self.files[at];
        let key = format!("/quorate/1/x/default/file/{}/{name}", self.host);
        let value = format!(
            "{{\"v\":1,\"schema\":\"file@1\",\"life\":\"session\",\"session\":\"s\",\
             \"gen\":{generation},\"fields\":{},\"digest\":{}}}",
            json!({"content": content}),
            json!(digest(content))
        );
        (key, value.into_bytes())
    }

    /// What closes its set.
    pub(super) fn publisher(&self, generation: u64) -> (String, Vec<u8>) {
        let value = json!({
            "v": 1, "instance": "simulated", "run": "r", "session": "s", "gen": generation,
            "count": self.files.len(), "digest": "", "slots": ["default/file"],
            "sets": {"default/file": sum(&self.files)},
        });
        (self.publisher_key(), value.to_string().into_bytes())
    }

    /// That it is there.
    pub(super) fn presence(&self) -> (String, Vec<u8>) {
        let value = json!({"v": 1, "instance": "simulated", "session": "s", "version": "bench"});
        (format!("/quorate/1/s/{}", self.host), value.to_string().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_in_the_form_that_agents_read() {
        let files = vec![("a".to_owned(), "x\n".to_owned())];
        let one = Simulated { host: "n1".to_owned(), files };
        let (key, value) = one.record(0, 3);
        assert_eq!(key, "/quorate/1/x/default/file/n1/a");
        let text = String::from_utf8(value).unwrap();
        assert!(text.starts_with(r#"{"v":1,"schema":"file@1","life":"session","#), "{text}");
        assert!(text.contains(r#""gen":3,"fields":{"content":"x\n"},"digest":"sha256:"#), "{text}");
        assert_eq!(sum(&[]), "0".repeat(64));
    }
}

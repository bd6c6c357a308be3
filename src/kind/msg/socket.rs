//! Messages in the words of systemd's journal and of syslog, and how they get there.
//!
//! Refuses to wait: a log that takes nothing in is an error.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::super::replace::reason;
use super::Message;

/// Where the journal listens.
pub(super) const JOURNAL: &str = "/run/systemd/journal/socket";

/// Where syslog listens.
pub(super) const SYSLOG: &str = "/dev/log";

/// Whose messages these are.
const PROGRAM: &str = "quorate";

/// Messages of daemons, as syslog counts.
const FACILITY: u8 = 3;

/// Sends one datagram. `what` begins the sentence that says who is not there.
pub(super) fn send(socket: &Path, bytes: &[u8], what: &str) -> Result<(), String> {
    let to = || {
        let from = UnixDatagram::unbound()?;
        from.set_nonblocking(true)?;
        from.send_to(bytes, socket)
    };
    let shown = socket.display();
    match to() {
        Ok(_) => Ok(()),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            Err(format!("{what}, and nothing listens at {shown}; start it, or take the field out"))
        }
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EMSGSIZE as i32) => {
            Err(format!("the message is too long for {shown}; shorten it"))
        }
        Err(error) => Err(format!("cannot write to {shown}: {}; try again", reason(&error))),
    }
}

/// An entry of the journal: a line for each field, or its length and bytes where it has several
/// lines.
pub(super) fn journal_entry(message: &Message) -> Vec<u8> {
    let mut entry = Vec::new();
    let priority = message.priority.0.to_string();
    let fixed = [("MESSAGE", &*message.body), ("PRIORITY", &*priority)];
    let program = [("SYSLOG_IDENTIFIER", PROGRAM)];
    for (name, value) in fixed.into_iter().chain(program) {
        push(&mut entry, name, value);
    }
    for (name, value) in &message.more {
        push(&mut entry, &name.to_ascii_uppercase(), value);
    }
    entry
}

fn push(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend((value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend(value.as_bytes());
    entry.push(b'\n');
}

/// A message of syslog, in the form that local ones have: without time and host.
pub(super) fn syslog_line(message: &Message) -> Vec<u8> {
    let number = FACILITY * 8 + message.priority.0;
    let line = message.line().replace(['\n', '\0'], " ");
    format!("<{number}>{PROGRAM}[{}]: {line}", std::process::id()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::INFO;
    use super::*;

    fn message(body: &str) -> Message {
        let more = [("unit".to_owned(), "a".to_owned())].into();
        Message { body: body.to_owned(), priority: INFO, more }
    }

    #[test]
    fn a_message_arrives_in_the_words_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        let mut buffer = [0; 256];
        send(&path, &journal_entry(&message("one line")), "x").unwrap();
        let read = log.recv(&mut buffer).unwrap();
        let text = "MESSAGE=one line\nPRIORITY=6\nSYSLOG_IDENTIFIER=quorate\nUNIT=a\n";
        assert_eq!(&buffer[..read], text.as_bytes());
        send(&path, &syslog_line(&message("two\nlines")), "x").unwrap();
        let read = log.recv(&mut buffer).unwrap();
        let text = format!("<30>quorate[{}]: two lines unit=a", std::process::id());
        assert_eq!(&buffer[..read], text.as_bytes());
    }

    #[test]
    fn several_lines_go_into_the_journal_with_their_length() {
        let entry = journal_entry(&message("a\nb"));
        assert!(entry.starts_with(b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\nPRIORITY=6\n"));
    }

    #[test]
    fn a_log_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let error = send(&path, b"x", "`journal` needs systemd's journal").unwrap_err();
        let begin = "`journal` needs systemd's journal, and nothing listens at /";
        assert!(error.starts_with(begin) && error.ends_with("take the field out"), "{error}");
        drop(UnixDatagram::bind(&path).unwrap());
        assert!(send(&path, b"x", "it").unwrap_err().contains("nothing listens"));
    }
}

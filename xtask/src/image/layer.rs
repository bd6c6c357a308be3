//! A layer as tar bytes that depend on nothing but its entries: fixed owner, fixed times, fixed
//! order. Pure.

use std::collections::BTreeMap;

/// One thing in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A directory with its mode.
    Folder(u32),
    /// A file with its mode.
    File(u32, Vec<u8>),
    /// A symbolic link and where it leads.
    Link(String),
}

/// What a layer holds, by path without a leading slash.
pub(crate) type Entries = BTreeMap<String, Entry>;

/// Adds the parents of every entry, mode 0755, where they are not there.
pub(crate) fn with_parents(mut entries: Entries) -> Entries {
    let paths: Vec<String> = entries.keys().cloned().collect();
    for path in paths {
        let mut rest = path.as_str();
        while let Some((parent, _)) = rest.rsplit_once('/') {
            entries.entry(parent.to_owned()).or_insert(Entry::Folder(0o755));
            rest = parent;
        }
    }
    entries
}

/// The layer's bytes.
///
/// # Errors
/// A path that tar cannot hold.
pub(crate) fn tar(entries: &Entries) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, entry) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        match entry {
            Entry::Folder(mode) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                header.set_size(0);
                builder.append_data(&mut header, format!("{path}/"), std::io::empty())?;
            }
            Entry::File(mode, bytes) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, path, bytes.as_slice())?;
            }
            Entry::Link(to) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                builder.append_link(&mut header, path, to)?;
            }
        }
    }
    builder.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_depends_on_its_entries_alone_and_parents_come_first() {
        let entries = with_parents(Entries::from([
            ("usr/bin/etcd".to_owned(), Entry::File(0o755, b"x".to_vec())),
            ("bin/sh".to_owned(), Entry::Link("busybox".to_owned())),
            ("tmp".to_owned(), Entry::Folder(0o1777)),
        ]));
        let bytes = tar(&entries).unwrap();
        assert_eq!(bytes, tar(&entries.clone()).unwrap());
        let mut archive = tar::Archive::new(bytes.as_slice());
        let seen: Vec<(String, u32, u64)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                (path, header.mode().unwrap(), header.mtime().unwrap())
            })
            .collect();
        let wanted = [
            ("bin/", 0o755),
            ("bin/sh", 0o777),
            ("tmp/", 0o1777),
            ("usr/", 0o755),
            ("usr/bin/", 0o755),
            ("usr/bin/etcd", 0o755),
        ];
        assert_eq!(seen, wanted.map(|(path, mode)| (path.to_owned(), mode, 0)));
    }
}

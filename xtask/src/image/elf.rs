//! What a program needs to run, read from its file. Never runs it, nor a loader: it may be foreign.

use std::path::{Path, PathBuf};

use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, LittleEndian};

/// What a Linux program or library needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Needs {
    /// Its loader; none when it is static (or a library).
    pub(crate) loader: Option<PathBuf>,
    /// Names of the libraries that it is linked with.
    pub(crate) libraries: Vec<String>,
    /// Folders where it looks for them first.
    pub(crate) folders: Vec<PathBuf>,
}

/// Reads what a program needs.
///
/// # Errors
/// Says what the file is when it is not a 64-bit Linux program for `arch` (in Go's words).
pub(crate) fn needs(path: &Path, bytes: &[u8], arch: &str) -> Result<Needs, String> {
    machine(path, bytes, arch)?;
    dynamic(bytes)
        .ok_or_else(|| format!("{} is damaged; the nodes run Linux/{arch}.", path.display()))
}

/// Whether a program is for `arch`, by the first 64 bytes of its file.
///
/// # Errors
/// Says what the file is when it is not a 64-bit Linux program for `arch` (in Go's words).
pub(crate) fn machine(path: &Path, bytes: &[u8], arch: &str) -> Result<(), String> {
    let what = |is: &str| format!("{} is {is}; the nodes run Linux/{arch}.", path.display());
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err(what(foreign(bytes)));
    }
    let header =
        elf::FileHeader64::<Endianness>::parse(bytes).map_err(|_| what("not a 64-bit ELF file"))?;
    let endian = header.endian().map_err(|_| what("a damaged ELF file"))?;
    let machine = match header.e_machine(endian) {
        elf::EM_X86_64 => "amd64",
        elf::EM_AARCH64 => "arm64",
        _ => "another machine",
    };
    if machine != arch || endian != Endianness::Little {
        return Err(what(&format!("a program for {machine}")));
    }
    Ok(())
}

fn foreign(bytes: &[u8]) -> &'static str {
    const MACH_O: [[u8; 4]; 3] =
        [[0xcf, 0xfa, 0xed, 0xfe], [0xce, 0xfa, 0xed, 0xfe], [0xca, 0xfe, 0xba, 0xbe]];
    match bytes {
        _ if MACH_O.iter().any(|magic| bytes.starts_with(magic)) => "a Mach-O file",
        [b'M', b'Z', ..] => "a Windows program",
        [b'#', b'!', ..] => "a script",
        _ => "not a program",
    }
}

fn dynamic(bytes: &[u8]) -> Option<Needs> {
    let header = elf::FileHeader64::<LittleEndian>::parse(bytes).ok()?;
    let headers = header.program_headers(LittleEndian, bytes).ok()?;
    let mut needs = Needs::default();
    let mut entries: &[elf::Dyn64<LittleEndian>] = &[];
    for program in headers {
        if let Ok(Some(loader)) = program.interpreter(LittleEndian, bytes) {
            needs.loader = Some(PathBuf::from(String::from_utf8_lossy(loader).into_owned()));
        }
        if let Ok(Some(found)) = program.dynamic(LittleEndian, bytes) {
            entries = found;
        }
    }
    let value = |tag| {
        let entry = entries.iter().find(|entry| entry.d_tag.get(LittleEndian) == tag);
        entry.map(|entry| entry.d_val(LittleEndian))
    };
    let Some(table) = value(elf::DT_STRTAB) else {
        return Some(needs);
    };
    let (start, first, _) = (headers.iter())
        .filter(|p| p.p_type(LittleEndian) == elf::PT_LOAD)
        .map(|p| (p.p_vaddr(LittleEndian), p.p_offset(LittleEndian), p.p_filesz(LittleEndian)))
        .find(|(address, _, size)| (*address..address + size).contains(&table))?;
    let strings = bytes.get(usize::try_from(first + (table - start)).ok()?..)?;
    let text = |offset: u64| -> Option<String> {
        let rest = strings.get(usize::try_from(offset).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    };
    for entry in entries {
        let tag = entry.d_tag.get(LittleEndian);
        if tag == elf::DT_NEEDED {
            needs.libraries.push(text(entry.d_val(LittleEndian))?);
        } else if tag == elf::DT_RUNPATH || tag == elf::DT_RPATH {
            let folders = text(entry.d_val(LittleEndian))?;
            needs.folders.extend(folders.split(':').map(PathBuf::from));
        }
    }
    Some(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_linux_program_is_named() {
        for (bytes, text) in [
            (&[0xcf, 0xfa, 0xed, 0xfe, 0][..], "x is a Mach-O file; the nodes run Linux/arm64."),
            (b"MZ..", "x is a Windows program; the nodes run Linux/arm64."),
            (b"#!/bin/sh", "x is a script; the nodes run Linux/arm64."),
            (b"", "x is not a program; the nodes run Linux/arm64."),
            (b"\x7fELF", "x is not a 64-bit ELF file; the nodes run Linux/arm64."),
        ] {
            assert_eq!(needs(Path::new("x"), bytes, "arm64"), Err(text.to_owned()));
        }
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn this_test_needs_its_c_library_and_a_loader() {
        let path = std::env::current_exe().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let seen = needs(&path, &bytes, "amd64").unwrap();
        assert!(seen.libraries.iter().any(|name| name.starts_with("libc.so")), "{seen:?}");
        assert!(seen.loader.is_some());
        let other = needs(&path, &bytes, "arm64").unwrap_err();
        assert!(other.ends_with("is a program for amd64; the nodes run Linux/arm64."), "{other}");
    }
}

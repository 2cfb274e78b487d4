//! What a library's bytes say of it, read without running any of them.

use crate::{
    error::Problem,
    image::{Elf, Image, malformed},
};
use object::{
    elf::{
        DT_AUDIT, DT_AUXILIARY, DT_DEPAUDIT, DT_FILTER, DT_FLAGS, DT_NEEDED, DT_RPATH, DT_RUNPATH,
        EM_AARCH64, EM_X86_64, ET_DYN, NoteType, PT_NOTE, SHN_UNDEF, STB_GLOBAL, STB_WEAK, STT_FUNC,
    },
    read::elf::{Dyn, FileHeader, ProgramHeader, Sym},
};
use prism_plugin_abi::ffi::layout::{
    Note, PRISM_ABI_MAJOR, PRISM_ABI_MINOR, PRISM_ABORTS, PRISM_NOTE_TYPE, PRISM_UNWINDS,
};
use std::{mem::offset_of, ops::Range};

/// `DT_FLAGS`: static thread-local storage (System V gABI).
const DF_STATIC_TLS: u64 = 0x10;

/// Libraries that every process has, and their own linker. By their whole names: one with a slash in it is a path, from
/// the folder that the proxy runs in.
const ALLOWED: [&[u8]; 9] = [
    b"libc.so.6",
    b"libm.so.6",
    b"libgcc_s.so.1",
    b"libdl.so.2",
    b"libpthread.so.0",
    b"librt.so.1",
    b"libutil.so.1",
    b"ld-linux-x86-64.so.2",
    b"ld-linux-aarch64.so.1",
];

/// What a plugin says of itself in its note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The minor version of the ABI that it needs at least.
    pub abi_minor: u16,
    /// Its entry function.
    pub(crate) entry: String,
}

/// Reads the note and checks everything that can be checked before loading.
pub(crate) fn read(bytes: &[u8]) -> Result<Manifest, Problem> {
    let elf = Elf::parse(bytes).map_err(malformed)?;
    let endian = elf.endian().map_err(malformed)?;
    let ours = match () {
        () if cfg!(target_arch = "x86_64") => EM_X86_64,
        () if cfg!(target_arch = "aarch64") => EM_AARCH64,
        () => return Err(Problem::Foreign("libraries are loaded on x86-64 and arm64 only")),
    };
    if elf.e_machine(endian) != ours || elf.is_little_endian() != cfg!(target_endian = "little") {
        return Err(Problem::Foreign("another kind of processor"));
    }
    if elf.e_type(endian) != ET_DYN {
        return Err(Problem::Foreign("a program or an object file, not a shared library"));
    }
    let image = Image::new(elf, endian, bytes)?;
    let manifest = note(&image, bytes)?;
    dynamic(&image)?;
    exports(&image, bytes, &manifest.entry)?;
    Ok(manifest)
}

fn note(image: &Image<'_>, bytes: &[u8]) -> Result<Manifest, Problem> {
    let endian = image.endian;
    let mut found = Vec::new();
    for segment in image.segments(PT_NOTE) {
        let Some(mut notes) = segment.notes(endian, bytes).map_err(malformed)? else { continue };
        while let Some(note) = notes.next().map_err(malformed)? {
            if note.name() == b"PRISM" && note.n_type(endian) == NoteType(PRISM_NOTE_TYPE) {
                found.push(note.desc());
            }
        }
    }
    match found[..] {
        [] => Err(Problem::NoNote),
        [description] => manifest(description),
        _ => Err(Problem::Notes(found.len())),
    }
}

/// Reads a note's description by the layout of [`Note`], whose first 20 bytes are the note's own head.
fn manifest(description: &[u8]) -> Result<Manifest, Problem> {
    const HEAD: usize = offset_of!(Note, abi_major);
    let field = |offset: usize, len: usize| -> Result<&[u8], Problem> {
        let range: Range<usize> = offset - HEAD..offset - HEAD + len;
        description.get(range).ok_or(Problem::BadNote("it is too short"))
    };
    let short = |offset| -> Result<u16, Problem> {
        let bytes = field(offset, 2)?.try_into().map_err(|_| Problem::BadNote("it is too short"))?;
        Ok(u16::from_ne_bytes(bytes))
    };
    let text = |offset, len| -> Result<String, Problem> {
        let bytes = field(offset, len)?;
        let end = bytes.iter().position(|byte| *byte == 0).ok_or(Problem::BadNote("a text has no end"))?;
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| Problem::BadNote("a text is not UTF-8"))?;
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(Problem::BadNote("a text is empty, or has control characters"));
        }
        Ok(text.to_owned())
    };
    // First of all: what follows is laid out as the major version says.
    let major = short(offset_of!(Note, abi_major))?;
    if major != PRISM_ABI_MAJOR {
        return Err(Problem::Major { major, ours: PRISM_ABI_MAJOR });
    }
    let minor = short(offset_of!(Note, abi_minor))?;
    #[allow(clippy::absurd_extreme_comparisons)] // as long as there is no minor version but 0
    if minor > PRISM_ABI_MINOR {
        return Err(Problem::Minor { major, minor, ours: PRISM_ABI_MINOR });
    }
    let panic = field(offset_of!(Note, panic), 4)?;
    let panic = panic.try_into().map(u32::from_ne_bytes).map_err(|_| Problem::BadNote("it is too short"))?;
    match panic {
        PRISM_UNWINDS => {}
        PRISM_ABORTS => return Err(Problem::Aborts),
        unknown => return Err(Problem::PanicMode(unknown)),
    }
    Ok(Manifest {
        entry: text(offset_of!(Note, entry), 64)?,
        name: text(offset_of!(Note, plugin), 64)?,
        version: text(offset_of!(Note, version), 32)?,
        abi_minor: minor,
    })
}

fn dynamic(image: &Image<'_>) -> Result<(), Problem> {
    let endian = image.endian;
    let entries = image.dynamic()?;
    image.check_sections(entries)?;
    for entry in entries {
        let value: u64 = entry.d_val(endian);
        match entry.d_tag(endian) {
            DT_NEEDED => {
                let name = image.text(entries, value)?;
                if !ALLOWED.contains(&name) {
                    return Err(Problem::Needs(String::from_utf8_lossy(name).into_owned()));
                }
            }
            DT_FLAGS if value & DF_STATIC_TLS != 0 => return Err(Problem::StaticTls),
            DT_RPATH => return Err(Problem::Tag("an RPATH")),
            DT_RUNPATH => return Err(Problem::Tag("a RUNPATH")),
            DT_AUDIT | DT_DEPAUDIT => return Err(Problem::Tag("an audit library (DT_AUDIT)")),
            DT_FILTER | DT_AUXILIARY => return Err(Problem::Tag("a filter library (DT_FILTER)")),
            _ => {}
        }
    }
    Ok(())
}

/// By sections, which say how many symbols there are, and were found to agree with what the linker uses.
fn exports(image: &Image<'_>, bytes: &[u8], entry: &str) -> Result<(), Problem> {
    let (elf, endian) = (image.elf, image.endian);
    let sections = elf.sections(endian, bytes).map_err(malformed)?;
    let symbols = sections.symbols(endian, bytes, object::elf::SHT_DYNSYM).map_err(malformed)?;
    let strings = symbols.strings();
    let exported = symbols.iter().any(|symbol| {
        symbol.st_type() == STT_FUNC
            && matches!(symbol.st_bind(), STB_GLOBAL | STB_WEAK)
            && symbol.st_shndx(endian) != SHN_UNDEF
            && symbol.name(endian, strings).is_ok_and(|name| name == entry.as_bytes())
    });
    if exported { Ok(()) } else { Err(Problem::NoEntry(entry.to_owned())) }
}

//! What the dynamic linker will map, and whether what we read is what it will use.
//!
//! The linker goes by program headers, tools by section headers, and nothing keeps the two from telling different stories.
//! So the tables that are checked are found by program header, and the sections that help to read them must agree.
//! What is malformed in a way that would crash the linker is refused as far as that is cheap to see; not all of it is.

use crate::error::Problem;
use object::{
    Endianness,
    elf::{
        DT_STRTAB, DT_SYMTAB, FileHeader64, PF_W, PF_X, PT_DYNAMIC, PT_GNU_STACK, PT_LOAD, ProgramHeader64,
    },
    read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader},
};

pub(crate) type Elf = FileHeader64<Endianness>;

pub(crate) fn malformed(error: object::read::Error) -> Problem {
    Problem::NotElf(error.to_string())
}

/// Segments are mapped by whole pages, of this size at least: a page that two of them share has the bytes of the later.
const PAGE: u64 = 4096;

fn broken(what: &'static str) -> Problem {
    Problem::NotElf(what.to_owned())
}

/// A library's segments, checked.
pub(crate) struct Image<'a> {
    pub(crate) elf: &'a Elf,
    pub(crate) endian: Endianness,
    bytes: &'a [u8],
    segments: &'a [ProgramHeader64<Endianness>],
}

impl<'a> Image<'a> {
    pub(crate) fn new(elf: &'a Elf, endian: Endianness, bytes: &'a [u8]) -> Result<Self, Problem> {
        let segments = elf.program_headers(endian, bytes).map_err(malformed)?;
        let image = Self { elf, endian, bytes, segments };
        image.check_loads()?;
        image.check_stack()?;
        Ok(image)
    }

    /// Program headers of a type.
    pub(crate) fn segments(
        &self,
        of: object::elf::ProgramType,
    ) -> impl Iterator<Item = &'a ProgramHeader64<Endianness>> {
        let endian = self.endian;
        self.segments.iter().filter(move |segment| segment.p_type(endian) == of)
    }

    /// "Loadable segment entries in the program header table appear in ascending order, sorted on the p_vaddr member"
    /// (System V gABI, "Program Header"), and each lies within the file.
    fn check_loads(&self) -> Result<(), Problem> {
        let endian = self.endian;
        let length = self.bytes.len() as u64;
        let mut end = 0_u64;
        for segment in self.segments(PT_LOAD) {
            let (offset, in_file) = (segment.p_offset(endian), segment.p_filesz(endian));
            let (address, in_memory) = (segment.p_vaddr(endian), segment.p_memsz(endian));
            if offset.checked_add(in_file).is_none_or(|end| end > length) {
                return Err(broken("a segment reaches beyond the end of the file"));
            }
            let align = segment.p_align(endian).max(1);
            // A gigabyte is the largest page that there is.
            if !align.is_power_of_two() || align > 1 << 30 || address % align != offset % align {
                return Err(broken("a segment is aligned in no way that can be mapped"));
            }
            if in_file > in_memory
                || address / PAGE < end.div_ceil(PAGE)
                || address.checked_add(in_memory).is_none_or(|end| end > 1 << 40)
            {
                return Err(broken("segments overlap, are out of order, or are larger than any library"));
            }
            end = address + in_memory;
            let flags = segment.p_flags(endian);
            if flags.contains(PF_W) && flags.contains(PF_X) {
                return Err(Problem::Executable("a segment that can be written and executed"));
            }
        }
        if end == 0 { Err(broken("it has no segment to load")) } else { Ok(()) }
    }

    /// The linker makes the stacks of all threads executable for a library that asks for it, or does not say.
    fn check_stack(&self) -> Result<(), Problem> {
        let endian = self.endian;
        let mut stacks = self.segments(PT_GNU_STACK);
        match (stacks.next(), stacks.next()) {
            (Some(stack), None) if !stack.p_flags(endian).contains(PF_X) => Ok(()),
            _ => Err(Problem::Executable("stacks that can be executed (link with `-z noexecstack`)")),
        }
    }

    /// Where in the file an address comes from; `None` where not all of it does.
    fn in_file(&self, address: u64, size: u64) -> Option<u64> {
        let endian = self.endian;
        self.segments(PT_LOAD).find_map(|segment| {
            let inside = address.checked_sub(segment.p_vaddr(endian))?;
            let end = inside.checked_add(size)?;
            (end <= segment.p_filesz(endian)).then(|| segment.p_offset(endian) + inside)
        })
    }

    /// The dynamic table, as the linker finds it.
    pub(crate) fn dynamic(&self) -> Result<&'a [object::elf::Dyn64<Endianness>], Problem> {
        let endian = self.endian;
        let mut tables = self.segments(PT_DYNAMIC);
        let (Some(table), None) = (tables.next(), tables.next()) else {
            return Err(Problem::Foreign("it has no dynamic section, or several"));
        };
        let (offset, size) = (table.p_offset(endian), table.p_filesz(endian));
        if self.in_file(table.p_vaddr(endian), size) != Some(offset) {
            return Err(broken("its dynamic table is not where it is mapped from"));
        }
        table
            .dynamic(endian, self.bytes)
            .map_err(malformed)?
            .ok_or(Problem::Foreign("it has no dynamic section"))
    }

    /// That a section is the table which this entry of the dynamic table leads to.
    fn is(&self, section: &object::elf::SectionHeader64<Endianness>, address: u64) -> bool {
        let endian = self.endian;
        section.sh_addr(endian) == address
            && self.in_file(address, section.sh_size(endian)) == Some(section.sh_offset(endian))
    }

    /// Checks that sections and program headers tell the same story, as far as the sections are read.
    pub(crate) fn check_sections(&self, dynamic: &[object::elf::Dyn64<Endianness>]) -> Result<(), Problem> {
        let endian = self.endian;
        let sections = self.elf.sections(endian, self.bytes).map_err(malformed)?;
        let address = |tag| {
            let mut entries = dynamic.iter().filter(|entry| entry.d_tag(endian) == tag);
            match (entries.next(), entries.next()) {
                (Some(entry), None) => Ok(entry.d_val(endian)),
                _ => Err(broken("its dynamic table has no string or symbol table, or several")),
            }
        };
        let (strings, symbols) = (address(DT_STRTAB)?, address(DT_SYMTAB)?);
        let Some((_, table)) = sections.iter().enumerate().find(|(_, section)| {
            section.sh_type(endian) == object::elf::SHT_DYNSYM && self.is(section, symbols)
        }) else {
            return Err(broken("its section headers and its program headers disagree on its symbols"));
        };
        let text =
            sections.section(object::SectionIndex(table.sh_link(endian) as usize)).map_err(malformed)?;
        let several =
            sections.iter().filter(|section| section.sh_type(endian) == object::elf::SHT_DYNSYM).count();
        if several != 1 || !self.is(text, strings) {
            return Err(broken("its section headers and its program headers disagree on its strings"));
        }
        Ok(())
    }

    /// A text of the string table that the linker uses.
    pub(crate) fn text(
        &self,
        dynamic: &[object::elf::Dyn64<Endianness>],
        at: u64,
    ) -> Result<&'a [u8], Problem> {
        let endian = self.endian;
        let table =
            dynamic.iter().find(|entry| entry.d_tag(endian) == DT_STRTAB).map(|entry| entry.d_val(endian));
        let offset = table
            .and_then(|table| self.in_file(table.checked_add(at)?, 1))
            .and_then(|offset| usize::try_from(offset).ok());
        let text = offset.and_then(|offset| self.bytes.get(offset..));
        let text = text.and_then(|text| text.split(|byte| *byte == 0).next());
        text.ok_or_else(|| broken("a name lies outside of what is mapped"))
    }
}

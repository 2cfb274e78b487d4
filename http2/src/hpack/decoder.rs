//! Reads header blocks (RFC 7541 sections 3 and 6).

use super::{
    Field, HpackError, Malformed, OVERHEAD,
    arena::{self, Arena},
    entry::Entry,
    integer::{Literal, Reader},
    known,
    memo::Memo,
    name::Name,
    table::Table,
};

/// A chunk for the values of requests: those of a few blocks of literals.
const CHUNK: usize = 2048;
/// A chunk for the values of the table, which is full with three of them.
const TABLE_CHUNK: usize = 1024;

/// The reading half of a connection's HPACK. An idle one holds the two chunks, the entries of the table and what [`Memo`] has.
pub(crate) struct Decoder {
    table: Table,
    most: usize,
    values: Values,
}

/// Where values come from.
struct Values {
    passing: Arena,
    kept: Arena,
    memo: Memo,
}

impl Decoder {
    /// `max_table` is what our SETTINGS_HEADER_TABLE_SIZE says, octets. Until the peer has heard that, and says so with a
    /// size update, the table has the size that RFC 9113 section 6.5.2 begins with.
    pub(crate) fn new(max_table: usize) -> Self {
        let values =
            Values { passing: Arena::new(CHUNK), kept: Arena::new(TABLE_CHUNK), memo: Memo::default() };
        Self { table: Table::new(), most: max_table, values }
    }

    /// Decodes a whole block: that of HEADERS and its CONTINUATIONs put together.
    ///
    /// `sink` is given every field in its order, and the size that RFC 7541 section 4.1 gives it (octets of name and
    /// value, and 32), which is what SETTINGS_MAX_HEADER_LIST_SIZE counts. A malformed field does not end the block,
    /// because its other fields still change the table. `sink` has to keep no more than its limits allow: a block's one octet can
    /// be a field of 4 KiB (though no memory but the field's own is taken for it).
    ///
    /// # Errors
    /// The block is no HPACK. The table is of no use any more, and the connection has to end.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        mut sink: impl FnMut(Result<Field, Malformed>, usize),
    ) -> Result<(), HpackError> {
        let mut reader = Reader::new(block);
        let mut begun = false;
        while let Some(octet) = reader.peek() {
            if octet & 0x80 != 0 {
                // Section 6.1, an indexed field.
                let entry = self.table.get(reader.integer(0x7f)?)?;
                sink(entry.given(), entry.size);
            } else if octet & 0x40 != 0 {
                // Section 6.2.1, a literal that goes into the table.
                let name = self.name(reader.integer(0x3f)?, &mut reader)?;
                let value = known::value(self.values.kept.store(reader.string()?)?);
                let entry = Entry::new(name, value);
                sink(entry.given(), entry.size);
                self.table.insert(entry);
            } else if octet & 0x20 != 0 {
                // Section 6.3, a size of the table.
                self.resize(reader.integer(0x1f)?, begun)?;
                continue;
            } else {
                // Sections 6.2.2 and 6.2.3, a literal that stays out of the table; one that must stay out of every table.
                let name = self.name(reader.integer(0x0f)?, &mut reader)?;
                let (mut field, size) = self.values.pass(name, reader.string()?)?;
                if octet & 0x10 != 0
                    && let Ok(Field::Header(_, value)) = &mut field
                {
                    value.set_sensitive(true);
                }
                sink(field, size);
            }
            begun = true;
        }
        Ok(())
    }

    /// RFC 7541 section 4.2: "This dynamic table size update MUST occur at the beginning of the first header block following
    /// the change to the dynamic table size." Section 6.3: "The new maximum size MUST be lower than or equal to the limit
    /// determined by the protocol using HPACK. A value that exceeds this limit MUST be treated as a decoding error."
    fn resize(&mut self, size: usize, begun: bool) -> Result<(), HpackError> {
        if begun {
            return Err(HpackError::LateTableSize);
        }
        if size > self.most {
            return Err(HpackError::TableSize);
        }
        self.table.resize(size);
        Ok(())
    }

    /// The name of a literal: an entry's, or for index zero the string that follows.
    #[inline]
    fn name(&self, index: usize, reader: &mut Reader<'_>) -> Result<Name, HpackError> {
        if index == 0 { Name::read(reader.string()?) } else { Ok(self.table.get(index)?.name()) }
    }

    #[cfg(test)]
    pub(super) fn table_sizes(&self) -> (usize, usize) {
        self.table.sizes()
    }
}

impl Values {
    /// A field that no table keeps, and its size.
    fn pass(
        &mut self,
        name: Name,
        literal: Literal<'_>,
    ) -> Result<(Result<Field, Malformed>, usize), HpackError> {
        let mut again = false;
        if literal.huffman && Memo::wants(literal.octets) {
            if let Some((field, len)) = self.memo.recall(&name, literal.octets) {
                return Ok((Ok(field), name.len() + len + OVERHEAD));
            }
            again = self.memo.again(literal.octets);
        }
        let value = if again { arena::alone(literal)? } else { self.passing.store(literal)? };
        let len = value.len();
        let Entry { field, size } = Entry::new(name, value);
        if again && let Ok(field) = &field {
            self.memo.remember(literal.octets, field, len);
        }
        Ok((field.map_err(|unusable| unusable.why), size))
    }
}

//! A field's name: which field it is, and whether HTTP/2 allows it.

use http::HeaderName;

use super::{HpackError, Malformed, arena, integer::Literal, known};

#[derive(Clone)]
pub(super) enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Status,
    Header(HeaderName),
    /// No name that HTTP/2 allows, and its length, which the table counts all the same.
    Bad(Malformed, usize),
}

impl Name {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Method => b":method".len(),
            Self::Scheme => b":scheme".len(),
            Self::Authority => b":authority".len(),
            Self::Path => b":path".len(),
            Self::Protocol => b":protocol".len(),
            Self::Status => b":status".len(),
            Self::Header(name) => name.as_str().len(),
            Self::Bad(_, len) => *len,
        }
    }

    pub(super) fn read(literal: Literal<'_>) -> Result<Self, HpackError> {
        // Names are short: nearly all fit here.
        let mut short = [0; 64];
        let room = arena::room(literal);
        if room <= short.len() {
            let len = arena::fill(literal, &mut short)?;
            return Ok(Self::new(&short[..len]));
        }
        let mut long = vec![0; room];
        let len = arena::fill(literal, &mut long)?;
        Ok(Self::new(&long[..len]))
    }

    fn new(name: &[u8]) -> Self {
        if name.first() == Some(&b':') {
            return Self::pseudo(name);
        }
        if let Some(name) = known::name(name) {
            return Self::Header(name);
        }
        // A quotation mark is no character of a token, but `http` takes it for one.
        match HeaderName::from_lowercase(name) {
            Ok(name) if !name.as_str().contains('"') => Self::Header(name),
            _ => Self::Bad(Malformed::Name, name.len()),
        }
    }

    fn pseudo(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":protocol" => Self::Protocol,
            b":status" => Self::Status,
            _ => Self::Bad(Malformed::PseudoName, name.len()),
        }
    }
}

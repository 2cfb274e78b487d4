//! `ExecuteResponse` and `StreamResponse`.

use crate::{
    ProtocolError, framing,
    request::{follows, join, read_any},
    wire,
};
use bytestring::ByteString;
use prism_plugin_abi::{Code, Data, Error, Payload};
use prism_proto::envelope::{
    self,
    field::{response, stream_response},
};

/// The two messages have the same fields under different numbers.
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    pub(crate) flag: u32,
    error: u32,
    code: u32,
    pub(crate) typed: u32,
    pub(crate) raw: u32,
}

impl Layout {
    /// The flag is `success`, which decides; else it is `is_final`.
    pub(crate) fn has_success(&self) -> bool {
        self.flag == response::SUCCESS
    }
}

pub(crate) const UNARY: Layout = Layout {
    name: "ExecuteResponse",
    flag: response::SUCCESS,
    error: response::ERROR,
    code: response::ERROR_CODE,
    typed: response::TYPED_RESULT,
    raw: response::RAW_RESULT,
};
pub(crate) const STREAM: Layout = Layout {
    name: "StreamResponse",
    flag: stream_response::IS_FINAL,
    error: stream_response::ERROR,
    code: stream_response::ERROR_CODE,
    typed: stream_response::TYPED_RESULT,
    raw: stream_response::RAW_RESULT,
};

/// One `StreamResponse`.
#[derive(Debug)]
pub struct StreamReply {
    /// What it carries.
    pub outcome: Result<Data, Error>,
    /// The plugin says that no other follows.
    pub is_final: bool,
}

/// Frames the outcome of a unary operation as an `ExecuteResponse`. `success` comes first, so that whoever
/// unwraps it can stream the result.
///
/// # Errors
/// [`ProtocolError::TooLong`]
pub fn encode_reply(outcome: Result<Data, Error>) -> Result<Payload, ProtocolError> {
    match outcome {
        Ok(data) => Ok(join(envelope::response(follows(&data))?, data)),
        Err(error) => Ok(envelope::failure(error.code.number(), &error.message)?.freeze().into()),
    }
}

/// Frames one outcome of a streaming operation as a `StreamResponse`. An error is always the last.
///
/// # Errors
/// [`ProtocolError::TooLong`]
pub fn encode_stream_reply(outcome: Result<Data, Error>) -> Result<Payload, ProtocolError> {
    match outcome {
        Ok(data) => Ok(join(envelope::stream_response(follows(&data))?, data)),
        Err(error) => Ok(envelope::stream_failure(error.code.number(), &error.message)?.freeze().into()),
    }
}

/// Reads a unary answer: exactly one framed `ExecuteResponse`. The inner result is the operation's own.
///
/// # Errors
/// It breaks the protocol: `INTERNAL` for whoever asked.
pub fn decode_reply(body: Payload) -> Result<Result<Data, Error>, ProtocolError> {
    Ok(decode(&UNARY, framing::single(body)?)?.outcome(&UNARY))
}

/// Reads one `StreamResponse` without its prefix (see [`Deframer`](crate::Deframer)).
///
/// # Errors
/// As [`decode_reply`].
pub fn decode_stream_reply(message: Payload) -> Result<StreamReply, ProtocolError> {
    let fields = decode(&STREAM, message)?;
    let is_final = fields.flag.unwrap_or(false);
    Ok(StreamReply { outcome: fields.outcome(&STREAM), is_final })
}

/// The fields of either message, as far as they are there.
#[derive(Default)]
pub(crate) struct Fields {
    pub(crate) flag: Option<bool>,
    error: Option<ByteString>,
    code: Option<i32>,
    data: Option<Data>,
}

impl Fields {
    /// There is an error.
    fn failed(&self) -> bool {
        self.code.unwrap_or(0) != 0 || self.error.as_ref().is_some_and(|text| !text.is_empty())
    }

    /// There is an outcome, or a part of one.
    pub(crate) fn says_anything(&self, layout: &Layout) -> bool {
        self.data.is_some() || self.failed() || (layout.has_success() && self.flag.is_some())
    }

    pub(crate) fn outcome(self, layout: &Layout) -> Result<Data, Error> {
        let failed = match layout.has_success() {
            // Zero bytes on the wire are `success = false`: a failure must never read as success.
            true => !self.flag.unwrap_or(false),
            false => self.failed(),
        };
        if !failed {
            return Ok(self.data.unwrap_or_default());
        }
        let message = match self.error {
            Some(text) if !text.is_empty() => text.to_string(),
            _ => "the plugin gave no reason".to_owned(),
        };
        Err(Error::operation(Code::from_number(self.code.unwrap_or(0)), message))
    }
}

/// # Errors
/// Malformed, a field twice, or an outcome that contradicts itself.
pub(crate) fn decode(layout: &Layout, mut message: Payload) -> Result<Fields, ProtocolError> {
    let malformed = |problem| ProtocolError::Malformed { message: layout.name, problem };
    let mut fields = Fields::default();
    while let Some((number, value)) = wire::next_field(&mut message).map_err(malformed)? {
        let seen = if number == layout.flag {
            fields.flag.replace(value.number().map_err(malformed)? != 0).is_some()
        } else if number == layout.error {
            fields.error.replace(value.text().map_err(malformed)?).is_some()
        } else if number == layout.code {
            // An int32: negative numbers come as ten bytes and are no code either way.
            let code = value.number().map_err(malformed)?;
            fields.code.replace(i32::try_from(code).unwrap_or(-1)).is_some()
        } else if number == layout.typed {
            fields.data.replace(read_any(value).map_err(malformed)?).is_some()
        } else if number == layout.raw {
            fields.data.replace(Data::Raw(value.bytes().map_err(malformed)?)).is_some()
        } else {
            false
        };
        if seen {
            let field = match number {
                n if n == layout.flag && layout.has_success() => "success",
                n if n == layout.flag => "is_final",
                n if n == layout.error => "error",
                n if n == layout.code => "error_code",
                _ => "result",
            };
            return Err(ProtocolError::Duplicate { message: layout.name, field });
        }
    }
    if layout.has_success() && fields.flag == Some(true) && fields.failed() {
        return Err(malformed("it says both that it succeeded and that it failed"));
    }
    Ok(fields)
}

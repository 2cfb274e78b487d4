//! From a message to JSON.

use bytes::Bytes;
use prism_plugin_abi::Payload;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};

/// Fields that a message does not distinguish from absent ones are written all the same: whoever reads `{}` where there is
/// no key looks for a mistake, and whoever reads `"found": false` does not. Everything else is protobuf's mapping as it is.
const OPTIONS: SerializeOptions = SerializeOptions::new().skip_default_fields(false);

/// Writes a message.
///
/// # Errors
/// The bytes are no such message.
pub(crate) fn encode(message: Payload, descriptor: &MessageDescriptor) -> Result<Bytes, String> {
    let message = DynamicMessage::decode(descriptor.clone(), message).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut text);
    message.serialize_with_options(&mut serializer, &OPTIONS).map_err(|error| error.to_string())?;
    Ok(text.into())
}

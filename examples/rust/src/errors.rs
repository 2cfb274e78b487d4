//! What a failed call says.

use tonic::Status;
use tonic_types::StatusExt;

/// The code and the message, and what the details say of where it went wrong and when to call again.
pub(crate) fn explain(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let details = status.get_error_details();
    if let Some(info) = details.error_info() {
        let places = ["plugin", "namespace"]
            .into_iter()
            .filter_map(|name| info.metadata.get(name).map(|value| format!(", {name} {value}")));
        text += &format!(" ({}{})", info.reason, places.collect::<String>());
    }
    if let Some(after) = details.retry_info().and_then(|info| info.retry_delay) {
        text += &format!(", may be called again after {after:?}");
    }
    text
}

//! Calls made again. tonic does not read service configs; this is what gRPC's `retryPolicy` does, for reads.

use std::time::Duration;
use tokio::time::sleep;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

/// The first included. All pauses together stay below a call's time, or its caller would hear of the deadline and not of
/// what is wrong.
const ATTEMPTS: u32 = 4;
/// Before the second attempt; doubled before each one after it. Where many clients run in step, add chance to it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The answer of the first attempt that does not fail with UNAVAILABLE, or of the last one. For calls only that do no
/// harm when they are made twice. The pause is what the proxy asks for in `google.rpc.RetryInfo`, where that is longer.
pub(crate) async fn retried<T, F>(mut attempt: impl FnMut() -> F) -> Result<Response<T>, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    for made in 0..ATTEMPTS - 1 {
        match attempt().await {
            Err(status) if status.code() == Code::Unavailable => {
                let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
                sleep((FIRST_PAUSE * (1 << made)).max(asked.unwrap_or_default())).await;
            }
            done => return done,
        }
    }
    attempt().await
}

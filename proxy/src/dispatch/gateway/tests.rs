//! What of the gateway needs no plugin.

use super::*;

fn pairs(text: &str) -> Result<Vec<(String, String)>, Reason> {
    query(text)
        .map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
        .map_err(|rejection| rejection.reason())
}

#[test]
fn query_parameters_become_metadata() {
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(pairs(""), Ok(vec![]));
    assert_eq!(pairs("key=a&ttl_ms=5"), Ok(own(&[("key", "a"), ("ttl_ms", "5")])));
    assert_eq!(pairs("key=a%20b+c%2B&flag"), Ok(own(&[("key", "a b c+"), ("flag", "")])));
    assert_eq!(pairs("a=1=2&&"), Ok(own(&[("a", "1=2")])));
    for wrong in ["key=a&key=b", "key=a&k%65y=b", "a&a", "key=%ff", "%ff=a"] {
        assert_eq!(pairs(wrong), Err(Reason::MalformedQuery), "{wrong}");
    }
    let many: Vec<String> = (0..=MOST_PARAMETERS).map(|number| format!("p{number}=")).collect();
    assert_eq!(pairs(&many.join("&")), Err(Reason::MalformedQuery));
}

#[test]
fn only_json_and_octet_streams_are_taken() {
    let check = |content_type: Option<&str>| {
        let mut request = Request::post("/v1/demo/get");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        check_request(&request.body(Body::empty()).unwrap()).map_err(|rejection| rejection.reason())
    };
    for taken in ["application/octet-stream", "Application/Octet-Stream", "application/octet-stream; a=b"] {
        assert_eq!(check(Some(taken)), Ok(Form::Raw), "{taken}");
    }
    for taken in ["application/json", "application/JSON; charset=utf-8"] {
        assert_eq!(check(Some(taken)), Ok(Form::Json), "{taken}");
    }
    for refused in [
        None,
        Some(""),
        Some("application/x-www-form-urlencoded"),
        Some("text/plain"),
        Some("multipart/form-data"),
        Some("application/octet-streams"),
        Some("application/json5"),
        Some("text/json"),
        Some("text/plain; application/octet-stream"),
    ] {
        assert_eq!(check(refused), Err(Reason::UnsupportedMediaType), "{refused:?}");
    }
    let get = Request::get("/v1/demo/get").body(Body::empty()).unwrap();
    assert_eq!(check_request(&get).unwrap_err().reason(), Reason::MethodNotAllowed);
}

#[tokio::test]
async fn an_upload_is_exactly_as_long_as_it_said() {
    async fn upload(said: usize, pieces: &[&'static [u8]]) -> Result<usize, Reason> {
        let pieces = pieces.iter().map(|piece| Bytes::from_static(piece)).collect();
        let mut framed = Framed {
            head: None,
            body: Upload { body: Body::whole(pieces, None), gate: None },
            remaining: said,
        };
        let mut length = 0;
        while let Some(piece) = poll_fn(|cx| framed.poll_piece(cx)).await {
            match piece {
                Ok(piece) => length += piece.len(),
                Err(error) => return Err(Rejection::from(*error.downcast::<BodyError>().unwrap()).reason()),
            }
        }
        Ok(length)
    }
    assert_eq!(upload(3, &[b"a", b"bc"]).await, Ok(3));
    assert_eq!(upload(0, &[]).await, Ok(0));
    assert_eq!(upload(4, &[b"a", b"bc"]).await, Err(Reason::MalformedMessage));
    assert_eq!(upload(2, &[b"a", b"bc"]).await, Err(Reason::MalformedMessage));
}

#[tokio::test]
async fn a_body_of_unknown_length_is_collected_up_to_the_limit() {
    let body =
        || Body::whole([Bytes::from_static(b"abc"), Bytes::from_static(b"de")].into_iter().collect(), None);
    let (_, length) = collect(body(), 5).await.unwrap();
    assert_eq!(length, 5);
    let refused = collect(body(), 4).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::MessageTooLarge);
}

//! Answers, each read for what it is worth.

use super::*;

#[test]
fn what_does_not_say_yes_says_no() {
    let only = |code| CheckResponse { status: status(code), http_response: None };
    assert!(matches!(answer::read(only(0)), Answer::Allowed(_)));
    assert!(matches!(answer::read(ok(|_| {})), Answer::Allowed(_)));
    let without_status = CheckResponse { status: None, ..ok(|_| {}) };
    assert!(matches!(answer::read(without_status), Answer::Allowed(_)));

    for (answered, code) in [
        (only(7), Code::PermissionDenied),
        (only(16), Code::Unauthenticated),
        (only(8), Code::ResourceExhausted),
        (only(14), Code::PermissionDenied),
        (only(-1), Code::PermissionDenied),
        (only(99), Code::PermissionDenied),
        (denied(7, 403), Code::PermissionDenied),
        (denied(7, 401), Code::Unauthenticated),
        (denied(16, 403), Code::PermissionDenied),
        (denied(7, 429), Code::ResourceExhausted),
        // It contradicts itself.
        (denied(0, 200), Code::PermissionDenied),
        (denied(0, 0), Code::PermissionDenied),
        (CheckResponse { status: None, ..denied(0, 403) }, Code::PermissionDenied),
        (CheckResponse { status: status(7), ..ok(|_| {}) }, Code::PermissionDenied),
    ] {
        let shown = format!("{answered:?}");
        match answer::read(answered) {
            Answer::Denied(got, why) => {
                assert_eq!(got, code, "{shown}");
                assert!(!why.contains('\n'), "{why:?}");
            }
            other => panic!("{shown}: {other:?}"),
        }
    }

    let failed = HttpResponse::Error(DeniedResponse::default());
    for nonsense in [
        CheckResponse::default(),
        CheckResponse { status: status(0), http_response: Some(failed.clone()) },
        CheckResponse { status: status(13), http_response: Some(failed) },
    ] {
        assert!(matches!(answer::read(nonsense), Answer::Nonsense(_)));
    }
}

#[test]
fn what_an_authorizer_may_not_change_makes_nonsense_of_its_answer() {
    let taboo = [
        ":path",
        ":authority",
        ":method",
        "host",
        "Host",
        "x-prism-principal",
        "X-Prism-Namespace",
        "x_prism_principal",
        "content-length",
        "Content_Length",
        "transfer-encoding",
        "connection",
        "te",
        "upgrade",
        "grpc-timeout",
        "grpc-encoding",
        "content-type",
        "content-encoding",
        "x-forwarded-for",
        "x-forwarded-host",
        "forwarded",
        "x-request-id",
        "traceparent",
        "http2-settings",
        "",
        "a b",
        "a\nb",
        "é",
    ];
    for name in taboo {
        let changes: [CheckResponse; 3] = [
            ok(|it| it.headers.push(set(name, "x"))),
            ok(|it| it.headers_to_remove.push(name.to_owned())),
            ok(|it| it.response_headers_to_add.push(set(name, "x"))),
        ];
        for answered in changes {
            let read = answer::read(answered);
            assert!(matches!(&read, Answer::Nonsense(why) if !why.contains('\n')), "{name:?}: {read:?}");
        }
    }
    for answered in [
        ok(|it| it.headers.push(set("x-a", "a\r\nx-prism-principal: b"))),
        ok(|it| it.headers.push(set("x-a", "a\0"))),
        ok(|it| it.headers.push(HeaderValueOption { header: None, ..set("x-a", "a") })),
        ok(|it| it.headers.push(HeaderValueOption { append_action: 4, ..set("x-a", "a") })),
        ok(|it| it.headers.push(HeaderValueOption { append_action: -1, ..set("x-a", "a") })),
        ok(|it| it.headers = vec![set("x-a", "a"); 101]),
        ok(|it| it.query_parameters_to_set.push(Ignored {})),
        ok(|it| it.query_parameters_to_remove.push("a".into())),
    ] {
        let read = answer::read(answered);
        assert!(matches!(read, Answer::Nonsense(_)), "{read:?}");
    }
}

fn applied(options: Vec<HeaderValueOption>, removed: &[&str]) -> Vec<String> {
    let answered = ok(|it| {
        it.headers = options;
        it.headers_to_remove = removed.iter().map(ToString::to_string).collect();
    });
    let Answer::Allowed(changes) = answer::read(answered) else { panic!("no answer") };
    let mut headers = HeaderMap::new();
    for value in ["client", "client's other"] {
        headers.append("x-user", value.parse().unwrap());
    }
    let edits: Edits = changes.request;
    edits.apply(&mut headers);
    headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
}

#[test]
fn headers_are_set_added_and_removed_as_the_protocol_says() {
    let user = |append: Option<bool>, append_action| HeaderValueOption {
        append: append.map(|value| BoolValue { value }),
        append_action,
        ..set("X-User", "alice")
    };
    let before = ["x-user: client", "x-user: client's other"];
    let all = ["x-user: client", "x-user: client's other", "x-user: alice"];
    for (option, expected) in [
        (user(None, 0), &["x-user: alice"][..]),
        (user(None, 2), &["x-user: alice"]),
        (user(None, 3), &["x-user: alice"]),
        (user(Some(false), 1), &["x-user: alice"]),
        (user(Some(true), 2), &all),
        (user(None, 1), &before),
        (HeaderValueOption { append_action: 3, ..set("x-new", "a") }, &before),
    ] {
        assert_eq!(applied(vec![option], &[]), expected);
    }
    assert_eq!(applied(vec![set("x-new", "a")], &["x-user", "x-absent"]), ["x-new: a"]);
    let raw = HeaderField { key: "x-new".into(), value: String::new(), raw_value: b"raw".to_vec() };
    let raw = HeaderValueOption { header: Some(raw), ..set("x-new", "") };
    assert_eq!(applied(vec![raw], &["x-user"]), ["x-new: raw"]);
}

/// Some services take `x_user` for `x-user`.
#[test]
fn another_spelling_of_a_header_is_no_way_around() {
    let applied = |option: Option<HeaderValueOption>, removed: &[&str], name: &'static str| {
        let answered = ok(|it| {
            it.headers = option.into_iter().collect();
            it.headers_to_remove = removed.iter().map(ToString::to_string).collect();
        });
        let Answer::Allowed(changes) = answer::read(answered) else { panic!("no answer") };
        let mut headers = HeaderMap::new();
        headers.append(name, "root".parse().unwrap());
        headers.append("x-other", "kept".parse().unwrap());
        changes.request.apply(&mut headers);
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.sort_unstable();
        left
    };
    let by = |name: &str, append_action| HeaderValueOption { append_action, ..set(name, "alice") };
    for (spelt, said) in [("x_user_id", "x-user-id"), ("x-user_id", "X-User-Id"), ("x-user-id", "x_user_id")]
    {
        let overwritten = ["x-other: kept".to_owned(), format!("{}: alice", said.to_lowercase())];
        let before = ["x-other: kept".to_owned(), format!("{spelt}: root")];
        assert_eq!(applied(Some(by(said, 0)), &[], spelt), overwritten);
        assert_eq!(applied(Some(by(said, 3)), &[], spelt), overwritten);
        assert_eq!(applied(Some(by(said, 1)), &[], spelt), before);
        assert_eq!(applied(None, &[said], spelt), ["x-other: kept"]);
    }
    assert_eq!(applied(Some(by("x-user", 3)), &[], "xx-user"), ["x-other: kept", "xx-user: root"]);
}

//! The filter with an authorizer that does as a test says.

use super::*;

#[tokio::test]
async fn it_is_told_what_is_named_and_no_more() {
    let scene = Scene::new(yes());
    scene.pass(Wanted::Operation, alice(), "get").await.outcome.unwrap();
    let asked = scene.asked().pop().unwrap();
    let shown = format!("{asked:?}");
    for secret in ["secret", "kept", "email", "none"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    let attributes = asked.attributes.unwrap();
    let principal = "jwt:https://id.example:alice";
    let mut extensions: Vec<_> =
        attributes.context_extensions.iter().map(|(name, value)| (&**name, &**value)).collect();
    extensions.sort_unstable();
    assert_eq!(
        extensions,
        [
            ("kind", "read"),
            ("listener", "edge"),
            ("namespace", "demo"),
            ("operation", "get"),
            ("principal", principal)
        ]
    );
    let source = attributes.source.unwrap();
    assert_eq!(source.principal, principal);
    let at = source.address.unwrap().socket_address.unwrap();
    assert_eq!((&*at.address, at.port_value), ("192.0.2.7", Some(4321)));
    let request = attributes.request.unwrap();
    assert!(request.time.unwrap().seconds > 1_700_000_000);
    let http = request.http.unwrap();
    assert_eq!(
        (&*http.id, &*http.method, &*http.path, &*http.host, &*http.scheme, http.size),
        ("id-1", "POST", "/v1/demo/get?a=b", "edge.example", "http", -1)
    );
    // A service may take `x_tenant` for `x-tenant`.
    let told = [("x-tenant".to_owned(), "one,two,three".to_owned())];
    assert_eq!(http.headers.into_iter().collect::<Vec<_>>(), told);
    let claims = &attributes.metadata_context.unwrap().filter_metadata["prism.caller"].fields;
    assert_eq!(claims.keys().collect::<std::collections::BTreeSet<_>>().len(), 2, "{claims:?}");
    let kind = |name: &str| format!("{:?}", claims[name].kind);
    assert!(kind("groups").contains("staff") && kind("realm.roles").contains('a'));
}

#[tokio::test]
async fn both_have_to_allow_it_and_what_is_granted_is_what_was_asked_about() {
    let scene = Scene::new(yes());
    for (wanted, caller, operation, kind, grant) in [
        (Wanted::Operation, alice as fn() -> Credential, "get", "read", Grant::Kind(Some(Kind::Read))),
        // A rule that names it would let it be anything; the authorizer was asked about one kind.
        (Wanted::Operation, named, "odd", "unspecified", Grant::Kind(Some(Kind::Unspecified))),
        (Wanted::Description, alice, "", "describe", Grant::Description),
        (Wanted::Forward(Some(policy())), alice, "", "forward", Grant::AsWanted),
    ] {
        let passed = scene.pass(wanted, caller(), operation).await;
        passed.outcome.unwrap();
        assert_eq!(passed.reached.unwrap().0, Some(grant));
        assert!(passed.cx.approval().is_some());
        let extensions = scene.asked().pop().unwrap().attributes.unwrap().context_extensions;
        assert_eq!((&*extensions["kind"], &*extensions["operation"]), (kind, operation));
    }
    // What nobody declares is not done, and a made-up name is told to nobody.
    for caller in [alice, named] {
        let passed = scene.pass(Wanted::Operation, caller(), "made-up").await;
        passed.outcome.unwrap();
        assert_eq!(passed.reached.unwrap().0, Some(Grant::Kind(None)));
    }
    // What the rules deny is not asked about, nor what concerns nobody.
    let refused = scene.pass(Wanted::Operation, alice(), "odd").await.outcome.unwrap_err();
    assert_eq!(refused.reason(), Reason::AccessDenied);
    scene.pass(Wanted::Listener, alice(), "").await.outcome.unwrap();
    scene.pass(Wanted::Nothing, alice(), "").await.outcome.unwrap();
    assert!(scene.asked().is_empty());
    assert_eq!(scene.counted(), [4, 0, 0]);
}

fn policy() -> Arc<Policy> {
    let rules = serde_json::from_value(json!([{ "principal": "jwt:**" }])).unwrap();
    Arc::new(Policy::new(&rules).unwrap())
}

#[tokio::test]
async fn whatever_is_no_yes_is_a_no_and_reaches_nothing() {
    for (does, reason, code, why) in [
        (no(), Reason::AccessDenied, Code::PermissionDenied, "denies the call: out of quota"),
        (Does::Says(denied(16, 401)), Reason::AccessDenied, Code::Unauthenticated, "denies"),
        (Does::Fails, Reason::AuthzUnavailable, Code::Unavailable, "no answer within"),
        (Does::Babbles(b"\xff\xff"), Reason::AuthzUnavailable, Code::Unavailable, "cannot be read"),
        (Does::Babbles(b""), Reason::AuthzUnavailable, Code::Unavailable, "empty"),
        (
            Does::Says(ok(|it| it.headers.push(set("x-prism-principal", "root")))),
            Reason::AuthzUnavailable,
            Code::Unavailable,
            "x-prism-principal",
        ),
    ] {
        for wanted in [Wanted::Operation, Wanted::Description, Wanted::Forward(Some(policy()))] {
            let scene = Scene::new(does.clone());
            let operation = if matches!(wanted, Wanted::Operation) { "get" } else { "" };
            let passed = scene.pass(wanted, alice(), operation).await;
            let rejection = passed.outcome.unwrap_err();
            assert_eq!((rejection.reason(), rejection.code()), (reason, code), "{does:?}");
            assert!(rejection.detail().unwrap().contains(why), "{rejection:?}");
            // Not a word of it is for the caller.
            assert!(!rejection.message().contains("quota") && !rejection.message().contains("127.0.0.1"));
            assert!(
                passed.reached.is_none() && passed.cx.grant().is_none() && passed.cx.approval().is_none()
            );
            assert_eq!(scene.counted().iter().sum::<u64>(), 1);
        }
    }
}

#[tokio::test]
async fn what_it_sets_goes_on_and_comes_back() {
    let does = Does::Says(ok(|it| {
        it.headers.push(set("x-tenant", "three"));
        it.headers_to_remove.push("x-unnamed".into());
        it.response_headers_to_add.push(set("x-quota", "7"));
    }));
    let passed = Scene::new(does).pass(Wanted::Operation, alice(), "get").await;
    assert_eq!(passed.outcome.unwrap().headers()["x-quota"], "7");
    let headers = passed.reached.unwrap().1;
    assert_eq!(headers.get_all("x-tenant").iter().collect::<Vec<_>>(), ["three"]);
    assert!(!headers.contains_key("x_tenant"));
    assert!(!headers.contains_key("x-unnamed"));
}

#[tokio::test]
async fn in_shadow_it_is_asked_and_nothing_is_other_than_without_it() {
    let changes = Does::Says(ok(|it| it.headers.push(set("x-tenant", "three"))));
    for (does, note) in [(changes, None), (no(), Some("denies the call")), (Does::Fails, Some("no answer"))] {
        let mut scene = Scene::new(does);
        scene.settings["shadow"] = true.into();
        let passed = scene.pass(Wanted::Operation, alice(), "get").await;
        passed.outcome.unwrap();
        let (grant, headers) = passed.reached.unwrap();
        assert_eq!(grant, Some(Grant::Watched));
        assert_eq!(headers.get_all("x-tenant").iter().count(), 2);
        let noted = passed.cx.note().map(ToString::to_string);
        assert_eq!(noted.is_some(), note.is_some());
        assert!(note.is_none_or(|note| noted.unwrap().contains(note)));
        assert_eq!(scene.asked().len(), 1);
        assert_eq!(scene.metrics.authz_shadow_denied("edge").get(), u64::from(note.is_some()));
    }
}

#[tokio::test]
async fn what_is_under_way_ends_when_another_authorizer_has_to_be_asked_or_another_kind_would_be() {
    let mut scene = Scene::new(yes());
    let cx = scene.pass(Wanted::Operation, alice(), "get").await.cx;
    let first = scene.filter(None);
    // The same settings make another authorizer only when they are not carried over.
    let approved = Held {
        is_answering: true,
        approval: Some(first.external.as_ref().unwrap().approval(Some(Kind::Read))),
        ..Held::from(&cx)
    };
    first.recheck(&approved).unwrap();
    assert!(first.recheck(&Held { approval: None, ..approved }).is_err());

    scene.settings["shadow"] = true.into();
    let watching = scene.filter(Some(&first));
    watching.recheck(&Held { approval: None, ..approved }).unwrap();
    scene.settings["shadow"] = false.into();
    scene.filter(Some(&watching)).recheck(&approved).unwrap();

    *scene.guarded.get.lock().unwrap() = Kind::Write;
    assert!(first.recheck(&approved).is_err(), "it was not asked about a write");
    *scene.guarded.get.lock().unwrap() = Kind::Read;
    first.recheck(&approved).unwrap();

    scene.settings["external"]["address"] = "127.0.0.1:2".into();
    let other = scene.filter(Some(&first));
    let ended = other.recheck(&approved).unwrap_err();
    assert_eq!(ended.reason(), Reason::Reloaded);
    // One that is still awaited is not lost.
    let awaited = Held { is_answering: false, ..approved };
    other.recheck(&awaited).unwrap();
    other.recheck(&Held { approval: None, ..awaited }).unwrap();
    // Nor is one that its client holds back, if anybody was asked about it.
    let held_back = Held { is_held_back: true, ..awaited };
    other.recheck(&held_back).unwrap();
    let ended = other.recheck(&Held { approval: None, ..held_back }).unwrap_err();
    assert_eq!(ended.reason(), Reason::Reloaded);
    scene.settings = json!({});
    let without = scene.filter(Some(&other));
    without.recheck(&approved).unwrap();
    without.recheck(&Held { approval: None, ..held_back }).unwrap();
}

#[tokio::test]
async fn nobody_is_asked_for_longer_than_the_call_has() {
    let mut scene = Scene::new(yes());
    scene.pass(Wanted::Operation, alice(), "get").await.outcome.unwrap();
    scene.time = Some(Duration::from_secs(3600));
    scene.pass(Wanted::Operation, alice(), "get").await.outcome.unwrap();
    assert_eq!(*scene.told.timeouts.lock().unwrap(), [Duration::from_millis(200); 2]);
    scene.time = Some(Duration::from_millis(100));
    scene.pass(Wanted::Operation, alice(), "get").await.outcome.unwrap();
    assert!(scene.told.timeouts.lock().unwrap()[2] <= Duration::from_millis(100));

    // A yes that comes too late is worth as little as none.
    for does in [yes(), no(), Does::Fails] {
        let mut scene = Scene::new(does);
        scene.time = Some(Duration::ZERO);
        let passed = scene.pass(Wanted::Operation, alice(), "get").await;
        let refused = passed.outcome.unwrap_err();
        assert_eq!((refused.reason(), refused.code()), (Reason::DeadlineExceeded, Code::DeadlineExceeded));
        assert!(passed.reached.is_none() && passed.cx.approval().is_none());
        scene.settings["shadow"] = true.into();
        assert!(scene.pass(Wanted::Operation, alice(), "get").await.reached.is_some());
    }
}

//! Which of several certificates a client is shown.

use super::*;

fn several(rig: &Rig, names: &[&[&str]]) -> Result<ServerTls, String> {
    let identity = |(number, names): (usize, &&[&str])| {
        rig.folder.identity(&format!("more{number}"), &rig.authority.identity(names, |_| {}))
    };
    let more = names.iter().enumerate().map(identity).collect();
    ServerTls::load(ServerFiles { more, clients: ClientAuth::None, ..rig.server.clone() }, BOTH)
        .map_err(|error| error.to_string())
}

/// The DNS names of the certificate that a client sees which asks for `name`, whether it likes it or not.
async fn shown(server: &ServerTls, rig: &Rig, name: &str) -> Vec<String> {
    let client = ClientTls::load(ClientFiles { identity: None, ..rig.client.clone() }).unwrap();
    let (connected, _) = meet(&client, server, name, alpn::GRPC).await;
    let stream = connected.unwrap();
    let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    ClientIdentity::new(&[certificate], std::time::SystemTime::UNIX_EPOCH)
        .unwrap()
        .dns_names()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[tokio::test]
async fn the_name_that_a_client_asks_for_chooses() {
    let rig = rig();
    let server = several(&rig, &[&["a.test", "*.a.test"], &["x.a.test", "B.test"]]).unwrap();
    for (asked, expected) in [
        ("plugin.test", &["plugin.test"][..]),
        ("a.test", &["a.test"]),
        ("y.a.test", &["a.test"]),
        ("Y.A.test", &["a.test"]),
        // Exact before a wildcard.
        ("x.a.test", &["x.a.test", "b.test"]),
        ("b.test", &["x.a.test", "b.test"]),
    ] {
        assert_eq!(shown(&server, &rig, asked).await, expected, "{asked}");
    }
    // Whoever asks for a name that is in none of them, or for none, sees the default, and does not find the name in it.
    let client = ClientTls::load(ClientFiles { identity: None, ..rig.client.clone() }).unwrap();
    for asked in ["c.test", "y.x.a.test", "test", "127.0.0.1"] {
        let (connected, _) = meet(&client, &server, asked, alpn::GRPC).await;
        let said = connected.unwrap_err().to_string();
        assert!(said.contains("not valid for name") && said.contains("plugin.test"), "{asked}: {said}");
    }
}

#[test]
fn certificates_between_which_chance_would_choose_are_refused() {
    let rig = rig();
    for (names, said) in [
        (&[&["a.test"][..], &["b.test", "a.test"]][..], &["`a.test`", "more0.crt", "more1.crt"][..]),
        (&[&["plugin.test"]], &["`plugin.test`", "server.crt", "more0.crt"]),
        (&[&["*.a.test"], &["*.A.test"]], &["`*.a.test`", "more0.crt", "more1.crt"]),
        (&[&[]], &["more0.crt", "no DNS name"]),
        (&[&["127.0.0.1"]], &["more0.crt", "no DNS name"]),
    ] {
        let refused = several(&rig, names).unwrap_err();
        for words in said {
            assert!(refused.contains(words), "`{refused}` does not say `{words}`");
        }
    }
    // The same name twice in one of them is no question.
    several(&rig, &[&["a.test", "a.test", "A.test"]]).unwrap();
}

#[tokio::test(start_paused = true)]
async fn all_of_them_change_together_or_not_at_all() {
    let rig = rig();
    let more = rig.folder.identity("more", &rig.authority.identity(&["a.test"], |_| {}));
    let files = ServerFiles { more: vec![more.clone()], clients: ClientAuth::None, ..rig.server.clone() };
    let server = ServerTls::watch(files.clone(), BOTH).unwrap();
    assert_eq!(shown(&server, &rig, "a.test").await, ["a.test"]);

    // One is renewed well, and another is renewed by half.
    rig.folder.identity("server", &rig.authority.identity(&["other.test"], |_| {}));
    let (certificate, key) = rig.authority.identity(&["b.test"], |_| {});
    rig.folder.write("more.crt", &certificate);
    tokio::time::sleep(INTERVAL * 10).await;
    assert_eq!(server.generation(), 0);
    assert_eq!(shown(&server, &rig, "a.test").await, ["a.test"]);
    assert_eq!(shown(&server, &rig, "plugin.test").await, ["plugin.test"]);

    rig.folder.write("more.key", &key);
    until(|| server.generation() == 1).await;
    assert_eq!(shown(&server, &rig, "b.test").await, ["b.test"]);
    assert_eq!(shown(&server, &rig, "other.test").await, ["other.test"]);
    let paths: Vec<_> = server.certificates().into_iter().map(|expiry| expiry.path).collect();
    assert_eq!(paths, [files.identity.certificates, more.certificates]);
}

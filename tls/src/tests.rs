//! Both sides with each other, over certificates made here.

mod certificates;
mod trust;

use super::*;
use rcgen::CertificateParams;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use testing::{Authority, Folder};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const BOTH: &[&[u8]] = &[alpn::FRAMES, alpn::GRPC];

/// What a client and a server say of their connection.
async fn meet(
    client: &ClientTls,
    server: &ServerTls,
    name: &str,
    protocol: &'static [u8],
) -> (io::Result<ClientStream<DuplexStream>>, io::Result<ServerStream<DuplexStream>>) {
    let (near, far) = duplex(64 << 10);
    let connecting = async {
        let mut stream = client.connect(server_name(name).unwrap(), protocol, near).await?;
        // In TLS 1.3 the client has done its part before the server has looked at its certificate.
        match stream.read_u8().await {
            Ok(_) => Ok(stream),
            Err(error) => Err(error),
        }
    };
    let accepting = async {
        let mut stream = server.accept(far).await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        Ok(stream)
    };
    tokio::join!(connecting, accepting)
}

async fn agree(client: &ClientTls, server: &ServerTls) -> bool {
    let (connected, accepted) = meet(client, server, "plugin.test", alpn::GRPC).await;
    assert_eq!(connected.is_ok(), accepted.is_ok());
    connected.is_ok()
}

struct Rig {
    folder: Folder,
    authority: Authority,
    client: ClientFiles,
    server: ServerFiles,
}

fn rig() -> Rig {
    let (folder, authority) = (Folder::new(), Authority::new());
    let ca = folder.write("ca.crt", &authority.pem());
    let client = folder.identity("client", &authority.identity(&["proxy.test"], |_| {}));
    let server = folder.identity("server", &authority.identity(&["plugin.test"], |_| {}));
    Rig {
        client: ClientFiles { ca: ca.clone(), identity: Some(client) },
        server: ServerFiles::new(server, ClientAuth::Required(ca)),
        folder,
        authority,
    }
}

#[tokio::test]
async fn both_know_each_other_and_what_they_speak() {
    let rig = rig();
    let client = ClientTls::watch(rig.client).unwrap();
    let server = ServerTls::watch(rig.server, BOTH).unwrap();
    for protocol in [alpn::GRPC, alpn::FRAMES] {
        let (connected, accepted) = meet(&client, &server, "plugin.test", protocol).await;
        assert_eq!(connected.unwrap().get_ref().1.alpn_protocol(), Some(protocol));
        assert_eq!(accepted.unwrap().get_ref().1.alpn_protocol(), Some(protocol));
    }
}

#[tokio::test]
async fn who_is_not_whom_the_other_expects_is_refused() {
    let rig = rig();
    let server = ServerTls::watch(rig.server.clone(), BOTH).unwrap();
    let client = ClientTls::watch(rig.client.clone()).unwrap();
    let strangers = Authority::new();
    let with = |name: &str, identity: &(String, String)| ClientFiles {
        identity: Some(rig.folder.identity(name, identity)),
        ..rig.client.clone()
    };
    let expired = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    };

    // Another name, and another protocol.
    assert!(meet(&client, &server, "other.test", alpn::GRPC).await.0.is_err());
    assert!(meet(&client, &server, "127.0.0.1", alpn::GRPC).await.0.is_err());
    assert!(meet(&client, &server, "plugin.test", b"http/1.1").await.0.is_err());

    // Clients.
    let nobody = ClientFiles { identity: None, ..rig.client.clone() };
    for files in [
        nobody,
        with("stranger", &strangers.identity(&["proxy.test"], |_| {})),
        with("expired", &rig.authority.identity(&["proxy.test"], expired)),
    ] {
        let client = ClientTls::watch(files.clone()).unwrap();
        assert!(!agree(&client, &server).await, "{files:?}");
    }

    // Servers.
    for (name, identity) in [
        ("impostor", strangers.identity(&["plugin.test"], |_| {})),
        ("expired", rig.authority.identity(&["plugin.test"], expired)),
        ("renamed", rig.authority.identity(&["other.test"], |_| {})),
        ("nameless", rig.authority.identity(&["plugin.test"], |params| params.subject_alt_names.clear())),
    ] {
        let identity = rig.folder.identity(name, &identity);
        let files = ServerFiles { identity, ..rig.server.clone() };
        let server = ServerTls::watch(files, BOTH).unwrap();
        assert!(!agree(&client, &server).await, "{name}");
    }

    // Plain text, either way.
    let (mut near, far) = duplex(1 << 10);
    near.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert!(server.accept(far).await.is_err());
    let (near, mut far) = duplex(1 << 10);
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    assert!(client.connect(server_name("plugin.test").unwrap(), alpn::GRPC, near).await.is_err());

    // And in the end the right ones still meet.
    assert!(agree(&client, &server).await);
}

fn refused(files: &ClientFiles) -> String {
    ClientTls::load(files.clone()).unwrap_err().to_string()
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let Rig { folder, authority, client, .. } = rig();
    // Nobody will ever write to it.
    let pipe = folder.path().join("pipe.crt");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let waits = refused(&ClientFiles { ca: pipe, identity: None });
    assert!(waits.contains("no regular file"), "{waits}");
    let other = authority.identity(&["proxy.test"], |_| {});
    let with_ca = |ca: PathBuf| refused(&ClientFiles { ca, identity: None });
    let with = |certificates: &Path, key: &Path| {
        let identity = IdentityFiles { certificates: certificates.to_owned(), key: key.to_owned() };
        refused(&ClientFiles { identity: Some(identity), ..client.clone() })
    };
    let own = client.identity.as_ref().unwrap();
    let key_alone = folder.write("other.key", &other.1);

    let says = |said: String, words: &[&str]| {
        for word in words {
            assert!(said.contains(word), "`{said}` does not say `{word}`");
        }
    };
    says(with_ca(folder.path().join("none.crt")), &["none.crt", "No such file"]);
    says(with_ca(folder.path().to_owned()), &["no regular file"]);
    says(with_ca(folder.write("empty.crt", "")), &["empty.crt", "no certificate"]);
    says(with_ca(key_alone.clone()), &["other.key", "no certificate"]);
    says(with_ca(folder.write("cut.crt", &authority.pem()[..200])), &["cut.crt", "PEM"]);
    says(
        with_ca(folder.write("noise.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
        &["noise.crt", "CA"],
    );
    says(with_ca(folder.write("huge.crt", &"x".repeat(2 << 20))), &["huge.crt", "1024 KiB"]);
    says(with_ca("/dev/zero".into()), &["/dev/zero", "no regular file"]);
    says(with(&own.certificates, &key_alone), &["client.crt", "other.key", "not one identity"]);
    says(with(&own.certificates, &own.certificates), &["client.crt", "no private key"]);
    says(with(&own.key, &own.key), &["client.key", "no certificate"]);
    says(server_name("a b").unwrap_err().to_string(), &["a b"]);
}

/// Until a renewal, or a failure to renew, is there. Time is paused: it stands still while files are read.
async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(INTERVAL / 2).await;
    }
    panic!("it never happened");
}

#[tokio::test(start_paused = true)]
async fn renewed_files_are_used_together_or_not_at_all() {
    let rig = rig();
    let client = ClientTls::watch(rig.client.clone()).unwrap();
    let server = ServerTls::watch(rig.server.clone(), BOTH).unwrap();
    assert!(agree(&client, &server).await);
    let own = rig.client.identity.as_ref().unwrap();

    // Half of a renewal: what is in use stays in use.
    let strangers = Authority::new();
    let (certificate, key) = strangers.identity(&["proxy.test"], |_| {});
    rig.folder.write("client.crt", &certificate);
    until(|| client.failures() == 1).await;
    assert_eq!(client.generation(), 0);
    assert!(client.problem().unwrap().contains("not one identity"));
    assert!(agree(&client, &server).await);

    // The other half.
    rig.folder.write("client.key", &key);
    client.newer_than(0).await;
    assert_eq!((client.generation(), client.problem()), (1, None));
    assert!(!agree(&client, &server).await);

    // The server trusts them from now on too.
    let bundle = format!("{}{}", rig.authority.pem(), strangers.pem());
    rig.folder.write("ca.crt", &bundle);
    for round in 0.. {
        if agree(&client, &server).await {
            break;
        }
        assert!(round < 1000, "the server never saw its new CA");
        tokio::time::sleep(INTERVAL).await;
    }

    // A file that goes is no reason to serve nobody, and counts once.
    fs::remove_file(&own.key).unwrap();
    until(|| client.failures() == 2).await;
    tokio::time::sleep(INTERVAL * 10).await;
    assert_eq!(client.failures(), 2);
    assert!(agree(&client, &server).await);

    // The same contents again are what is in use: a problem that is over is not shown any more.
    rig.folder.write("client.key", &key);
    until(|| client.problem().is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_of_before_a_renewal_is_not_resumed() {
    let rig = rig();
    let client = ClientTls::watch(ClientFiles { identity: None, ..rig.client.clone() }).unwrap();
    let anybody = ServerFiles { clients: ClientAuth::None, ..rig.server.clone() };
    let server = ServerTls::watch(anybody, BOTH).unwrap();
    assert_eq!(kind(&client, &server).await, rustls::HandshakeKind::Full);
    assert_eq!(kind(&client, &server).await, rustls::HandshakeKind::Resumed);

    // Only the authorities changed: the server that was verified against the old ones is verified anew.
    rig.folder.write("ca.crt", &Authority::new().pem());
    client.newer_than(0).await;
    assert!(!agree(&client, &server).await);
}

async fn kind(client: &ClientTls, server: &ServerTls) -> rustls::HandshakeKind {
    let (_, stream) = meet(client, server, "plugin.test", alpn::GRPC).await;
    stream.unwrap().get_ref().1.handshake_kind().unwrap()
}

#[tokio::test]
async fn who_has_to_have_a_certificate_shows_it_every_time() {
    let rig = rig();
    let client = ClientTls::watch(rig.client.clone()).unwrap();
    let ClientAuth::Required(ca) = rig.server.clients.clone() else { unreachable!() };
    for clients in [ClientAuth::Required(ca.clone()), ClientAuth::Optional(ca)] {
        let server = ServerTls::watch(ServerFiles { clients, ..rig.server.clone() }, BOTH).unwrap();
        for _ in 0..3 {
            assert_eq!(kind(&client, &server).await, rustls::HandshakeKind::Full);
        }
    }
}

#[tokio::test]
async fn a_certificate_that_may_be_left_out_must_be_right_where_there_is_one() {
    let rig = rig();
    let ClientAuth::Required(ca) = rig.server.clients.clone() else { unreachable!() };
    let files = ServerFiles { clients: ClientAuth::Optional(ca), ..rig.server.clone() };
    let server = ServerTls::watch(files, BOTH).unwrap();
    let expired = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    };
    for (name, identity) in [
        ("stranger", Authority::new().identity(&["proxy.test"], |_| {})),
        ("expired", rig.authority.identity(&["proxy.test"], expired)),
    ] {
        let identity = Some(rig.folder.identity(name, &identity));
        let client = ClientTls::watch(ClientFiles { identity, ..rig.client.clone() }).unwrap();
        assert!(!agree(&client, &server).await, "{name}");
    }
    for files in [ClientFiles { identity: None, ..rig.client.clone() }, rig.client.clone()] {
        assert!(agree(&ClientTls::watch(files).unwrap(), &server).await);
    }
}

/// The peer reads the alert only if the socket is closed with care.
#[tokio::test]
async fn a_connection_that_is_refused_comes_back_with_its_alert() {
    let server = ServerTls::watch(rig().server, BOTH).unwrap();
    let (mut near, far) = duplex(1 << 10);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let (_, far) = server.accept_or_return(far).await.unwrap_err();
    drop(far);
    let mut alert = Vec::new();
    near.read_to_end(&mut alert).await.unwrap();
    // RFC 8446 section 5.1: the content type `alert`.
    assert_eq!(alert.first(), Some(&21), "{alert:?}");
}

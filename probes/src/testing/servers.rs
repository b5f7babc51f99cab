//! Servers for one test each, on a port the kernel chooses; gone with the test's runtime.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ServerConfig,
    pki_types::CertificateDer,
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Leaf, roots_with};
use crate::{
    fact::Vantage,
    net::{Net, NoObserver},
    roots::Roots,
    wire::trust_all::PROVIDER,
};

/// A run with empty trust stores.
pub(crate) fn net() -> Net {
    net_with(roots_with(&[], &[]))
}

/// A run with these trust stores.
pub(crate) fn net_with(roots: Roots) -> Net {
    Net::new(Vantage::Here, roots, "pdsdoctor/test".to_owned(), Arc::new(NoObserver))
}

/// Handles every connection with `handle`.
pub(crate) async fn serve<F, Fut>(handle: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listen");
    let addr = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    addr
}

/// Reads one request, writes `answer`, closes.
pub(crate) async fn raw_server(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = Arc::new(answer.into());
    serve(move |mut stream| {
        let answer = answer.clone();
        async move {
            read_head(&mut stream).await;
            write_all(&mut stream, &answer).await;
        }
    })
    .await
}

/// A port on which nobody listens.
pub(crate) async fn refused_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listen");
    listener.local_addr().expect("address")
}

/// A TLS server with this chain; `handle` gets every completed handshake.
pub(crate) async fn tls_server<F, Fut>(leaf: &Leaf, above: Vec<CertificateDer<'static>>, handle: F) -> SocketAddr
where
    F: Fn(TlsStream<TcpStream>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    alpn_server(leaf, above, &["http/1.1"], handle).await
}

/// The same, choosing among these application protocols.
pub(crate) async fn alpn_server<F, Fut>(
    leaf: &Leaf,
    above: Vec<CertificateDer<'static>>,
    alpn: &[&str],
    handle: F,
) -> SocketAddr
where
    F: Fn(TlsStream<TcpStream>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let chain = std::iter::once(leaf.certificate.clone()).chain(above).collect();
    let mut config = ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        // Not `with_single_cert`: that would refuse the hostile ones.
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(
            chain,
            PROVIDER.key_provider.load_private_key(leaf.key()).expect("key"),
        ))));
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serve(move |stream| {
        let (acceptor, handle) = (acceptor.clone(), handle.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                handle(stream).await;
            }
        }
    })
    .await
}

/// Reads until the empty line that ends a head; gives the head.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Reads the body that `head` announces.
pub(crate) async fn body_of(head: &str, stream: &mut (impl AsyncRead + Unpin)) -> String {
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    let _ = stream.read_exact(&mut body).await;
    String::from_utf8_lossy(&body).into_owned()
}

/// Writes; a client that went away is no concern of a hostile server.
pub(crate) async fn write_all(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
}

/// Writes one byte at a time, for ever.
pub(crate) async fn drip(stream: &mut (impl AsyncWrite + Unpin), byte: u8) {
    while stream.write_all(&[byte]).await.is_ok() {
        let _ = stream.flush().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Keeps a connection open and silent.
pub(crate) async fn hold<S>(stream: S) {
    std::future::pending::<()>().await;
    drop(stream);
}

/// Cuts a connection with a TCP reset.
pub(crate) fn reset(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).expect("linger");
}

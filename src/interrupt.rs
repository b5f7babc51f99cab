//! Ctrl-C.

use tokio::sync::oneshot;

/// The first Ctrl-C asks for the partial report; this returns at the second, which waits for nothing.
pub async fn twice(stop: oneshot::Sender<()>) {
    once().await;
    let _ = stop.send(());
    once().await;
}

async fn once() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a handler the system's own ending applies.
        std::future::pending::<()>().await;
    }
}

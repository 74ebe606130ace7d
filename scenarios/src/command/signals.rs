//! Ctrl-C and its like.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `stop` when the process is told to end, so that what runs ends in good order; told again, it ends at once, with its
/// servers and their folders. Nodes die with the process.
pub(super) fn watch_signals(
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        let mut told = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        told().await;
        stop.cancel();
        told().await;
        harness::servers::abandon();
        std::process::exit(130);
    })
}

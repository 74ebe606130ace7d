//! What the client library makes of an answer that no server gives.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use crate::session::{BoxFuture, LockError};

/// What comes of a request over which the client library panicked: some read past the end of a message that is shorter than its fields
/// say, some assert what a server must have said. Only a server gone wrong sends one, or somebody in between; but the panic would end the caller's task, or one that a session
/// cannot do without.
pub(in crate::backends) trait Panicked {
    /// In these words.
    fn panicked(what: String) -> Self;
}

impl<T> Panicked for Result<T, LockError> {
    fn panicked(what: String) -> Self {
        // The request may have been carried out.
        Err(LockError::Unknown(what))
    }
}

/// A request that ends with an error where the client library panics.
pub(in crate::backends) fn asked<'a, T: Panicked>(
    asking: impl Future<Output = T> + Send + 'a,
) -> BoxFuture<'a, T> {
    // The connection is of no more use, and nothing else of what a panic may leave half done is kept.
    let asking = AssertUnwindSafe(asking).catch_unwind();
    Box::pin(async move { asking.await.unwrap_or_else(|panic| T::panicked(told(&*panic))) })
}

fn told(panic: &(dyn Any + Send)) -> String {
    let what = panic.downcast_ref::<String>().map(String::as_str);
    let what = what.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
    format!("an answer that the client library panicked over: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer_that_did_not_come() {
        let asking = asked(async { if true { panic!("split_to out of bounds") } else { Ok(()) } });
        let Err(LockError::Unknown(what)) = asking.await else { panic!("an answer") };
        assert!(what.contains("split_to"), "{what}");
        assert!(matches!(asked(async { Ok::<_, LockError>(7) }).await, Ok(7)));
    }
}

//! What every backend must do. Each function here is one test; [`conformance!`] runs them all.

pub(crate) mod append;
pub(crate) mod consumers;
pub(crate) mod world;

use std::sync::Arc;

use headrace_store::Store;

/// How to make a store of one kind.
pub(crate) trait Backend {
    /// An empty place for a store.
    fn new() -> Self;

    /// Opens the store in that place; again, after it was closed.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Runs the suite against a [`Backend`].
macro_rules! conformance {
    ($backend:ty) => {
        $crate::conformance::conformance!($backend: append {
            newer_wins_and_older_is_stale
        });
        $crate::conformance::conformance!($backend: consumers {
            acked_is_done_and_the_rest_comes_again
        });
    };
    ($backend:ty: $module:ident { $($test:ident),* $(,)? }) => {
        mod $module {
            use $crate::conformance::{Backend, $module as tests};

            $(#[tokio::test]
            async fn $test() {
                tests::$test(&<$backend>::new()).await;
            })*
        }
    };
}
pub(crate) use conformance;

//! The sandbox judged by a program nobody here wrote: Stripe's own Python library.

use std::net::SocketAddr;
use std::path::Path;

use headrace_sandbox::serve;
use headrace_sandbox::stripe::{Stripe, StripeOptions};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stripes_own_library_finds_what_it_expects() {
    let python = std::env::var("HEADRACE_TEST_PYTHON").expect(
        "HEADRACE_TEST_PYTHON must name an interpreter with testing/requirements.txt installed: \
         `cargo xtask test` makes one",
    );
    let stripe = Stripe::new(StripeOptions::default());
    stripe.seed_all(120);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (address, _server) = serve(stripe.router(), any).await.unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing/sandbox_check.py");
    let checked = Command::new(python)
        .arg(script)
        .arg(format!("http://{address}"))
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
}

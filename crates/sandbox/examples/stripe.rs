//! Serves a Stripe sandbox until killed, and prints its base URL as the first line.
//!
//! `cargo run -p headrace-sandbox --example stripe -- --port 8420 --seed-count 100 --rate 25`

use std::net::{Ipv4Addr, SocketAddr};

use headrace_sandbox::serve;
use headrace_sandbox::stripe::{Stripe, StripeOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut port = 0;
    let mut seed_count = 0;
    let mut options = StripeOptions::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--port" => port = value.parse()?,
            "--seed-count" => seed_count = value.parse()?,
            "--rate" => options.rate = Some(value.parse()?),
            "--key" => options.key = value,
            _ => return Err(format!("unknown argument {arg}").into()),
        }
    }
    let stripe = Stripe::new(options);
    stripe.seed_all(seed_count);
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (bound, server) = serve(stripe.router(), addr).await?;
    announce(bound);
    server.await?;
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the address is the output of this program"
)]
fn announce(bound: SocketAddr) {
    println!("http://{bound}");
}

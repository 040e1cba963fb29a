//! The clock and chance: the only places where the program reads either.

use std::time::Duration;

use headrace_model::Timestamp;

/// Tells the time, and draws what is left to chance. Tests turn their own.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;

    /// What the machine's clock says, where that is followed slowly.
    fn machine(&self) -> Timestamp {
        self.now()
    }

    /// Fills these bytes by chance: ids and pauses, nothing secret. A simulation repeats its own.
    fn draw(&self, bytes: &mut [u8]) {
        fill(bytes);
    }
}

/// Bytes by the chance of this clock.
pub(crate) fn draw<const N: usize>(clock: &dyn Clock) -> [u8; N] {
    let mut bytes = [0; N];
    clock.draw(&mut bytes);
    bytes
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
}

/// Random bytes from the operating system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

#[expect(
    clippy::expect_used,
    reason = "an operating system without randomness can keep no secret"
)]
fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

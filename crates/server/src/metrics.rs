//! Metrics, each name a documented constant.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// Messages handed to workers.
pub(crate) const MESSAGES_DELIVERED: &str = "headrace_messages_delivered_total";
/// Messages settled by workers.
pub(crate) const MESSAGES_SETTLED: &str = "headrace_messages_settled_total";
/// Requests answered, by status class.
pub(crate) const REQUESTS: &str = "headrace_http_requests_total";
/// How far the machine's clock is ahead of the time that is used, which follows it slowly.
pub(crate) const CLOCK_AHEAD: &str = "headrace_clock_ahead_seconds";

/// The recorder.
#[derive(Clone)]
pub(crate) struct Metrics {
    recorder: std::sync::Arc<metrics_exporter_prometheus::PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Metrics {
    /// A recorder of its own: nothing is global.
    pub(crate) fn new() -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let metrics = Self {
            recorder: std::sync::Arc::new(recorder),
            handle,
        };
        metrics.record(|| {
            describe_counter!(
                MESSAGES_DELIVERED,
                Unit::Count,
                "Messages handed to workers"
            );
            describe_counter!(MESSAGES_SETTLED, Unit::Count, "Messages settled by workers");
            describe_counter!(REQUESTS, Unit::Count, "Requests answered, by status");
            describe_gauge!(
                CLOCK_AHEAD,
                Unit::Seconds,
                "How far the machine's clock, after it was set, is ahead of the time that is used"
            );
        });
        Ok(metrics)
    }

    /// Counts messages handed to workers.
    pub(crate) fn delivered(&self, count: usize) {
        self.record(|| counter!(MESSAGES_DELIVERED).increment(count as u64));
    }

    /// Counts messages settled.
    pub(crate) fn settled(&self, count: u64) {
        self.record(|| counter!(MESSAGES_SETTLED).increment(count));
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, status: u16) {
        self.record(|| counter!(REQUESTS, "status" => status.to_string()).increment(1));
    }

    /// Notes how far the machine's clock is ahead of the engine's.
    pub(crate) fn clock_is_ahead(&self, seconds: f64) {
        self.record(|| gauge!(CLOCK_AHEAD).set(seconds));
    }

    /// The text that Prometheus reads.
    pub(crate) fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    fn record(&self, f: impl FnOnce()) {
        metrics::with_local_recorder(&*self.recorder, f);
    }
}

//! What must hold for any bytes. A target panics when it does not.
//!
//! The tests of `headrace-model` include this module, and run it over the seeds in `corpus/`.

mod json;
mod link;
mod provider;
mod text;

/// Panics when what must hold for these bytes does not.
pub(crate) type Target = fn(&[u8]);

/// Every target, by the name of its corpus.
pub(crate) const ALL: [(&str, Target); 9] = [
    ("compact", json::compact),
    ("hash", json::hash),
    ("splice", json::splice),
    ("definition", provider::definition),
    ("page", provider::page),
    ("link", link::link),
    ("token", text::token),
    ("cursor", text::cursor),
    ("time", text::time),
];

/// The parts between the zero bytes, as text.
fn parts<const N: usize>(data: &[u8]) -> Option<[&str; N]> {
    let mut parts = data.splitn(N, |byte| *byte == 0).map(std::str::from_utf8);
    let mut found = [""; N];
    for part in &mut found {
        *part = parts.next()?.ok()?;
    }
    Some(found)
}

/// Whatever it answers: that it does is what is asked.
fn answers<T>(answer: T) {
    drop(std::hint::black_box(answer));
}

//! Property tests of the rules.

mod delivery;
mod naive;
mod record;
mod seeds;

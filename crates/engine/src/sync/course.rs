//! The course of a list that is followed: a provider may name next pages for ever, or refuse each place
//! to go on from.

use headrace_model::provider::{PageCursor, PageError};

/// A list does not go on for more empty pages than this, one after the other.
const EMPTY: u32 = 100;
/// A list does not begin again more often than this at one place.
const AGAIN: u32 = 10;

/// Watches that a list comes to its end.
#[derive(Debug, Default)]
pub(super) struct Course {
    empty: u32,
    /// A place that was passed: coming to it again is a circle. A later one is taken now and then, so
    /// that it lies within the circle in the end.
    passed: Option<PageCursor>,
    steps: u64,
    taken_at: u64,
    /// Where it began again last, if it did, and how often one after the other.
    again_at: Option<PageCursor>,
    again: u32,
}

impl Course {
    /// A page was read, after which the list goes on at `next`.
    pub(super) fn follow(
        &mut self,
        is_empty: bool,
        next: Option<&PageCursor>,
    ) -> Result<(), PageError> {
        let Some(next) = next else {
            return Ok(());
        };
        self.empty = match is_empty {
            true => self.empty + 1,
            false => 0,
        };
        if self.empty > EMPTY || self.passed.as_ref() == Some(next) {
            return Err(PageError::Stuck);
        }
        self.steps += 1;
        if self.steps > 2 * self.taken_at {
            (self.passed, self.taken_at) = (Some(next.clone()), self.steps);
        }
        Ok(())
    }

    /// The provider refused to go on from where it was, and is asked for what follows `at` instead; from
    /// the beginning for `None`.
    pub(super) fn begin_again(&mut self, at: Option<&PageCursor>) -> Result<(), PageError> {
        let again = match self.again_at.as_ref() == at {
            true => self.again + 1,
            false => 1,
        };
        if again > AGAIN {
            return Err(PageError::Stuck);
        }
        *self = Self {
            again_at: at.cloned(),
            again,
            ..Self::default()
        };
        Ok(())
    }
}

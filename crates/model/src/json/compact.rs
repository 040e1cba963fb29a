//! The validating compactor: one pass, one copy, nesting kept on the heap.

use super::scan::plain_run;

/// The bytes are not one JSON document.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not valid JSON at byte {at}")]
pub struct Invalid {
    /// The offset of the first byte that does not fit.
    pub at: usize,
}

/// Appends the document `raw` to `out` without the whitespace outside strings. All tokens stay as they
/// are: numbers beyond 2^53, `1.0`, escapes, members that occur twice. `out` is unchanged on error.
pub fn compact(raw: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    if let Err(error) = std::str::from_utf8(raw) {
        let at = error.valid_up_to();
        return Err(Invalid { at });
    }
    let before = out.len();
    out.reserve(raw.len());
    let mut compactor = Compactor {
        raw,
        at: 0,
        copied: 0,
        out,
    };
    let done = compactor.document();
    if done.is_err() {
        out.truncate(before);
    }
    done
}

struct Compactor<'a> {
    raw: &'a [u8],
    at: usize,
    /// Everything before this offset is in `out` already; tokens are copied in runs.
    copied: usize,
    out: &'a mut Vec<u8>,
}

impl Compactor<'_> {
    fn document(&mut self) -> Result<(), Invalid> {
        // The closing bytes of what is open, innermost last.
        let mut open: Vec<u8> = Vec::new();
        loop {
            let opened = self.value(&mut open)?;
            if !opened && self.close(&mut open)? {
                self.flush();
                return Ok(());
            }
        }
    }

    /// Takes a scalar, an empty container, or the beginning of a container (then `true`).
    fn value(&mut self, open: &mut Vec<u8>) -> Result<bool, Invalid> {
        match self.next_token() {
            Some(b'"') => self.string()?,
            Some(b'{') => {
                self.at += 1;
                if self.next_token() != Some(b'}') {
                    open.push(b'}');
                    self.key()?;
                    return Ok(true);
                }
                self.at += 1;
            }
            Some(b'[') => {
                self.at += 1;
                if self.next_token() != Some(b']') {
                    open.push(b']');
                    return Ok(true);
                }
                self.at += 1;
            }
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => return Err(self.invalid()),
        }
        Ok(false)
    }

    /// After a value: closes what ends here, up to the next value; `true` at the end of the document.
    fn close(&mut self, open: &mut Vec<u8>) -> Result<bool, Invalid> {
        loop {
            let next = self.next_token();
            let Some(&closing) = open.last() else {
                return if next.is_none() {
                    Ok(true)
                } else {
                    Err(self.invalid())
                };
            };
            match next {
                Some(b',') => {
                    self.at += 1;
                    if closing == b'}' {
                        self.key()?;
                    }
                    return Ok(false);
                }
                Some(byte) if byte == closing => {
                    self.at += 1;
                    open.pop();
                }
                _ => return Err(self.invalid()),
            }
        }
    }

    fn key(&mut self) -> Result<(), Invalid> {
        if self.next_token() != Some(b'"') {
            return Err(self.invalid());
        }
        self.string()?;
        if self.next_token() != Some(b':') {
            return Err(self.invalid());
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), Invalid> {
        self.at += 1;
        loop {
            self.at += plain_run(self.raw, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(self.invalid()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.invalid());
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.invalid()),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Invalid> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            Err(self.invalid())
        } else {
            Ok(())
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Invalid> {
        for &expected in word {
            if self.peek() != Some(expected) {
                return Err(self.invalid());
            }
            self.at += 1;
        }
        Ok(())
    }

    /// The next byte that is not whitespace. Whitespace passed over is left out of the copy.
    fn next_token(&mut self) -> Option<u8> {
        if self.peek().is_some_and(is_space) {
            self.flush();
            while self.peek().is_some_and(is_space) {
                self.at += 1;
            }
            self.copied = self.at;
        }
        self.peek()
    }

    fn flush(&mut self) {
        self.out.extend_from_slice(&self.raw[self.copied..self.at]);
        self.copied = self.at;
    }

    fn peek(&self) -> Option<u8> {
        self.raw.get(self.at).copied()
    }

    fn invalid(&self) -> Invalid {
        Invalid { at: self.at }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

//! `Link` headers (RFC 8288): where the provider says that the next page is.
//!
//! Of that address only the query is ever used. The rest is the definition's to say: no answer can
//! lead a request, and the credential with it, to another host or path.

/// The longest query that is followed, in bytes: many servers refuse longer request lines.
pub const MAX_QUERY: usize = 8 << 10;

/// `Link` headers do not say where the next page is. They are never taken for the end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LinkError {
    /// They are not written as RFC 8288 says.
    #[error("the answer's Link header is malformed at byte {at}")]
    Malformed {
        /// Where in the line, counted from 0.
        at: usize,
    },
    /// They name more than one next page.
    #[error("the answer's Link header names different next pages")]
    Ambiguous,
    /// What follows is said to follow something else than this page.
    #[error("the answer's Link header tells what comes next of something else (anchor)")]
    Anchored,
    /// The address of the next page has no query.
    #[error("the answer's Link header names a next page without a query")]
    NoQuery,
    /// The query has spaces, control characters or bytes that are not ASCII.
    #[error("the answer's Link header names a next page with characters that no URL has")]
    BadQuery,
    /// The query is longer than [`MAX_QUERY`].
    #[error(
        "the answer's Link header names a next page with a query of more than {MAX_QUERY} bytes"
    )]
    LongQuery,
}

/// The query of the link to the next page, without its `?`; `None` when there is no such link. `lines`
/// are the values of the headers, one for each line.
pub fn next_query<'a>(lines: &[&'a [u8]]) -> Result<Option<&'a str>, LinkError> {
    let mut next = None;
    for line in lines {
        let mut reader = Reader {
            rest: line,
            length: line.len(),
        };
        while let Some(link) = reader.link()? {
            if !link.is_next() {
                continue;
            }
            if link.anchored {
                return Err(LinkError::Anchored);
            }
            let query = query(link.target)?;
            if next.is_some_and(|known| known != query) {
                return Err(LinkError::Ambiguous);
            }
            next = Some(query);
        }
    }
    Ok(next)
}

/// The query of a URI reference.
fn query(target: &[u8]) -> Result<&str, LinkError> {
    let end = target.iter().position(|byte| *byte == b'#');
    let whole = target.get(..end.unwrap_or(target.len()));
    let mut parts = whole.unwrap_or_default().splitn(2, |byte| *byte == b'?');
    let query = parts.nth(1).filter(|query| !query.is_empty());
    let query = query.ok_or(LinkError::NoQuery)?;
    if query.len() > MAX_QUERY {
        return Err(LinkError::LongQuery);
    }
    let text = std::str::from_utf8(query).ok();
    text.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or(LinkError::BadQuery)
}

/// One link, as far as it matters.
struct Link<'a> {
    target: &'a [u8],
    /// Of several the first counts.
    rel: Option<Vec<u8>>,
    /// Whether it is a link of something else than the page.
    anchored: bool,
}

impl Link<'_> {
    fn is_next(&self) -> bool {
        let rel = self.rel.as_deref().unwrap_or_default();
        rel.split(|byte| is_space(*byte))
            .any(|kind| kind.eq_ignore_ascii_case(b"next"))
    }
}

/// Goes along a line, byte by byte and never back.
struct Reader<'a> {
    rest: &'a [u8],
    /// Of the whole line.
    length: usize,
}

impl<'a> Reader<'a> {
    fn link(&mut self) -> Result<Option<Link<'a>>, LinkError> {
        // A list may have empty elements.
        self.take(|byte| is_space(byte) || byte == b',');
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.need(b'<')?;
        let target = self.take(|byte| byte != b'>');
        self.need(b'>')?;
        let mut link = Link {
            target,
            rel: None,
            anchored: false,
        };
        self.take(is_space);
        while self.eat(b';') {
            self.take(is_space);
            let name = self.take(is_token);
            // Some write a semicolon behind the last one too.
            if !name.is_empty() {
                let value = self.value()?;
                if name.eq_ignore_ascii_case(b"rel") {
                    link.rel.get_or_insert(value);
                }
                link.anchored |= name.eq_ignore_ascii_case(b"anchor");
            }
            self.take(is_space);
        }
        if !self.rest.is_empty() {
            self.need(b',')?;
        }
        Ok(Some(link))
    }

    /// What a parameter is, behind its name; empty where it is a name only.
    fn value(&mut self) -> Result<Vec<u8>, LinkError> {
        self.take(is_space);
        if !self.eat(b'=') {
            return Ok(Vec::new());
        }
        self.take(is_space);
        if self.eat(b'"') {
            return self.quoted();
        }
        let value = self.take(|byte| !is_space(byte) && !b"\",;<>".contains(&byte));
        if value.is_empty() {
            return Err(self.malformed());
        }
        Ok(value.to_vec())
    }

    fn quoted(&mut self) -> Result<Vec<u8>, LinkError> {
        let mut value = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Ok(value),
                b'\\' => value.push(self.next()?),
                byte => value.push(byte),
            }
        }
    }

    fn next(&mut self) -> Result<u8, LinkError> {
        let (first, rest) = self.rest.split_first().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*first)
    }

    fn need(&mut self, byte: u8) -> Result<(), LinkError> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let rest = self.rest.strip_prefix(&[byte]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !wanted(*byte));
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn malformed(&self) -> LinkError {
        LinkError::Malformed {
            at: self.length - self.rest.len(),
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether a parameter's name may have it.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

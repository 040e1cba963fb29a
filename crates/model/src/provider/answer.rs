//! What a provider answers to a request for a page, as far as definitions look at it.

/// The answer to a request for a page.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// The body.
    pub body: &'a [u8],
    /// The values of its `Link` headers, one for each line.
    pub links: Vec<&'a [u8]>,
}

impl<'a> Answer<'a> {
    /// An answer that has a body and no `Link` header.
    pub fn without_links(body: &'a [u8]) -> Self {
        let links = Vec::new();
        Self { body, links }
    }
}

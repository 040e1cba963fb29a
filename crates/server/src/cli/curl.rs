//! Commands as the HTTP requests that do the same, for a shell.

use serde_json::Value;

use crate::config::Config;

/// The request as a `curl` command. The token is the caller's, in `$HEADRACE_TOKEN`.
pub(crate) fn post(config: &Config, path: &str, body: &Value) -> String {
    let url = config.public_url.clone();
    let url = url.unwrap_or_else(|| format!("http://{}", config.listen));
    let url = quoted(&format!("{}{path}", url.trim_end_matches('/')));
    let body = quoted(&body.to_string());
    format!(
        "curl -X POST {url} \\\n  -H \"Authorization: Bearer $HEADRACE_TOKEN\" \\\n  \
         -H 'Content-Type: application/json' \\\n  -d {body}"
    )
}

/// A word that a shell takes as it is.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_does_not_end_the_word() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}

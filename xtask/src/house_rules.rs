//! House rules that no linter knows: no long files, nothing left unfinished or silenced, no one's home directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

const LONGEST_FILE_IN_LINES: usize = 500;

/// What a person writes and reads as code.
const CODE: [&str; 7] = ["css", "html", "py", "rs", "sh", "sql", "toml"];

/// Put together here, so that this file keeps its own rules.
const BANNED_IN_RUST: [(&str, &str); 5] = [
    (concat!("todo", "!("), "finish it or leave it out"),
    (concat!("unimplemented", "!("), "finish it or leave it out"),
    (concat!("#[", "ignore"), "make the test run, or remove it"),
    (concat!("#[", "allow("), "use #[expect(…, reason = \"…\")]"),
    (
        concat!("#![", "allow("),
        "use #![expect(…, reason = \"…\")]",
    ),
];

const HOMES: [&str; 3] = [
    concat!("/", "home/"),
    concat!("/", "Users/"),
    concat!("/", "root/"),
];

/// Reads every text file of the repository and fails with all places that break a rule.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut complaints = Vec::new();
    for path in files_below(workspace.root())? {
        let bytes =
            fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            let name = path.strip_prefix(workspace.root()).unwrap_or(&path);
            complaints.extend(complaints_about(name, &text));
        }
    }
    if !complaints.is_empty() {
        bail!(
            "{} places break a house rule:\n{}",
            complaints.len(),
            complaints.join("\n")
        );
    }
    Ok(())
}

fn complaints_about(name: &Path, text: &str) -> Vec<String> {
    let extension = name
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    let name = name.display();
    let mut complaints = Vec::new();

    let length = text.lines().count();
    if CODE.contains(&extension) && length > LONGEST_FILE_IN_LINES {
        complaints.push(format!(
            "{name}: {length} lines, more than {LONGEST_FILE_IN_LINES}: split it"
        ));
    }
    for (line, number) in text.lines().zip(1..) {
        if extension == "rs" {
            for (banned, instead) in BANNED_IN_RUST {
                if line.contains(banned) {
                    complaints.push(format!("{name}:{number}: `{banned}`: {instead}"));
                }
            }
        }
        if names_a_home(line) {
            complaints.push(format!("{name}:{number}: the path of a home directory"));
        }
    }
    complaints
}

/// Whether an absolute path into a home directory begins in this line; a URL's path may contain the same words.
fn names_a_home(line: &str) -> bool {
    HOMES.iter().any(|home| {
        line.match_indices(home).any(|(start, _)| {
            let before = line
                .get(..start)
                .and_then(|before| before.chars().next_back());
            before.is_none_or(|before| !before.is_alphanumeric())
        })
    })
}

/// All files but those of version control and of caches, which mark themselves with a `CACHEDIR.TAG`.
fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        if directory.ends_with(".git") || directory.join("CACHEDIR.TAG").exists() {
            continue;
        }
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("could not list {}", directory.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("could not list {}", directory.display()))?;
            let kind = entry
                .file_type()
                .with_context(|| format!("could not look at {:?}", entry.path()))?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(name: &str, text: &str) -> Vec<String> {
        complaints_about(Path::new(name), text)
    }

    #[test]
    fn a_banned_word_is_reported_with_its_line() {
        for (banned, instead) in BANNED_IN_RUST {
            let text = format!("fn f() {{\n    {banned}x)]\n}}\n");
            assert_eq!(
                complaints("a.rs", &text),
                [format!("a.rs:2: `{banned}`: {instead}")]
            );
            assert_eq!(complaints("a.md", &text), [""; 0]);
        }
    }

    #[test]
    fn code_may_have_five_hundred_lines_and_data_any_number() {
        assert_eq!(complaints("a.rs", &"x\n".repeat(500)), [""; 0]);
        assert_eq!(
            complaints("a.rs", &"x\n".repeat(501)),
            ["a.rs: 501 lines, more than 500: split it"]
        );
        assert_eq!(complaints("a.json", &"x\n".repeat(501)), [""; 0]);
    }

    #[test]
    fn a_home_directory_is_told_from_the_path_of_a_url() {
        for home in HOMES {
            let path = format!("{home}ada/x");
            assert_eq!(complaints("a.md", &format!("see {path}")).len(), 1);
            assert_eq!(complaints("a.md", &path).len(), 1);
            assert_eq!(
                complaints("a.md", &format!("https://example.com{path}")),
                [""; 0]
            );
        }
    }
}

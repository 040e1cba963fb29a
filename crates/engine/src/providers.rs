//! The providers this installation knows: the built-in definitions and the user's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use headrace_model::provider::{Definition, Problem};
use reqwest::Url;

mod built_in {
    include!(concat!(env!("OUT_DIR"), "/providers.rs"));
}

/// The definitions by name, and where to find their APIs.
#[derive(Debug)]
pub struct Providers {
    known: BTreeMap<String, Arc<Provider>>,
}

/// A definition, and where this installation finds its API.
#[derive(Debug)]
pub struct Provider {
    /// What the API is and does.
    pub definition: Definition,
    /// Where to send its requests instead: a sandbox, a mock, a region.
    base: Option<Url>,
}

/// Why the definitions could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ProvidersError {
    /// A folder or file cannot be read.
    #[error("could not read the provider definitions in {path}")]
    Read {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Definitions have mistakes.
    #[error("the definition of {name} has mistakes:{}", list(.problems))]
    Mistakes {
        /// The provider.
        name: String,
        /// What is wrong, and where.
        problems: Vec<Problem>,
    },
    /// A base URL was given for a provider that is not known.
    #[error("a base URL was given for {name}, but there is no such provider")]
    NoSuchProvider {
        /// The name that was given.
        name: String,
    },
    /// A base URL is not one.
    #[error("{url:?} is no base URL for {name}: expected one such as http://127.0.0.1:8420/v1")]
    BadBaseUrl {
        /// The provider.
        name: String,
        /// What was given.
        url: String,
    },
}

impl Providers {
    /// Loads the built-in definitions and those in `directory`, where a folder of the same name goes
    /// before a built-in one. `base_urls` are by provider.
    pub fn load(
        directory: Option<&Path>,
        base_urls: &BTreeMap<String, String>,
    ) -> Result<Self, ProvidersError> {
        let mut definitions = BTreeMap::new();
        for (name, files) in built_in::BUILT_IN {
            definitions.insert((*name).to_owned(), compile(name, files)?);
        }
        if let Some(directory) = directory {
            for (name, files) in read_folders(directory)? {
                let files: Vec<(&str, &str)> = files
                    .iter()
                    .map(|(file, text)| (file.as_str(), text.as_str()))
                    .collect();
                definitions.insert(name.clone(), compile(&name, &files)?);
            }
        }
        let mut bases = read_base_urls(base_urls)?;
        let mut known = BTreeMap::new();
        for (name, definition) in definitions {
            let base = bases.remove(&name);
            known.insert(name, Arc::new(Provider { definition, base }));
        }
        match bases.into_keys().next() {
            Some(name) => Err(ProvidersError::NoSuchProvider { name }),
            None => Ok(Self { known }),
        }
    }

    /// The provider of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Provider>> {
        self.known.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.known.values()
    }
}

impl Provider {
    /// Where to send requests with a credential of these fields, without a slash at the end. A base URL
    /// that names only a host stands for the same path there.
    pub(crate) fn base(&self, fields: &BTreeMap<String, String>) -> Option<Url> {
        let own = || Url::parse(&self.definition.base(fields)?).ok();
        let Some(base) = &self.base else {
            return own();
        };
        let mut base = base.clone();
        if base.path() == "/" {
            base.set_path(own()?.path());
        }
        Some(base)
    }
}

/// Compiles the definition in `folder`, named like it: what `provider check` runs.
pub fn check(folder: &Path) -> Result<Definition, ProvidersError> {
    let name = folder.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let files = read_files(folder)?;
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(file, text)| (file.as_str(), text.as_str()))
        .collect();
    compile(&name, &files)
}

fn compile(name: &str, files: &[(&str, &str)]) -> Result<Definition, ProvidersError> {
    Definition::compile(name, files).map_err(|problems| ProvidersError::Mistakes {
        name: name.to_owned(),
        problems,
    })
}

type Files = Vec<(String, String)>;

fn read_folders(directory: &Path) -> Result<Vec<(String, Files)>, ProvidersError> {
    let mut folders = Vec::new();
    for path in entries(directory)? {
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default();
            folders.push((name.to_string_lossy().into_owned(), read_files(&path)?));
        }
    }
    Ok(folders)
}

fn read_files(folder: &Path) -> Result<Files, ProvidersError> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let text = fs::read_to_string(&path).map_err(|source| ProvidersError::Read {
                path: path.clone(),
                source,
            })?;
            let name = path.file_name().unwrap_or_default();
            files.push((name.to_string_lossy().into_owned(), text));
        }
    }
    Ok(files)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ProvidersError> {
    let read = || {
        let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
        let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    read().map_err(|source| ProvidersError::Read {
        path: folder.to_owned(),
        source,
    })
}

fn read_base_urls(
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Url>, ProvidersError> {
    let mut bases = BTreeMap::new();
    for (name, url) in given {
        let base = Url::parse(url.trim_end_matches('/'))
            .ok()
            .filter(|base| matches!(base.scheme(), "http" | "https") && base.query().is_none());
        let base = base.ok_or_else(|| ProvidersError::BadBaseUrl {
            name: name.clone(),
            url: url.clone(),
        })?;
        bases.insert(name.clone(), base);
    }
    Ok(bases)
}

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_definitions_compile() {
        let providers = Providers::load(None, &BTreeMap::new()).unwrap();
        let stripe = providers.get("stripe").unwrap();
        assert!(stripe.definition.collection("customer").is_some());
    }

    #[test]
    fn a_base_url_must_be_one_and_of_a_known_provider() {
        let load = |name: &str, url: &str| {
            let urls = BTreeMap::from([(name.to_owned(), url.to_owned())]);
            Providers::load(None, &urls)
        };
        let providers = load("stripe", "http://127.0.0.1:8420/v1/").unwrap();
        let base = providers.get("stripe").unwrap().base(&BTreeMap::new());
        assert_eq!(base.unwrap().as_str(), "http://127.0.0.1:8420/v1");
        let bad = load("stripe", "file:///etc/passwd").unwrap_err();
        assert!(matches!(bad, ProvidersError::BadBaseUrl { .. }));
        let unknown = load("strype", "http://127.0.0.1").unwrap_err();
        assert!(matches!(unknown, ProvidersError::NoSuchProvider { .. }));
    }

    #[test]
    fn a_users_own_definition_is_checked_and_its_mistakes_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("mine");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("provider.toml"), "titel = \"Mine\"\n").unwrap();
        let error = Providers::load(Some(directory.path()), &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("provider.toml:1"), "{error}");
    }
}

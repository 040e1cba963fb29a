//! Embeds the definitions in `providers/*/`: adding a provider is adding a folder.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../providers");
    let mut code = String::from("pub(super) static BUILT_IN: &[(&str, &[(&str, &str)])] = &[\n");
    for folder in sorted(&root)? {
        if !folder.is_dir() {
            continue;
        }
        writeln!(code, "    ({:?}, &[", name(&folder)?)?;
        for file in sorted(&folder)? {
            if file
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                let path = file.canonicalize()?;
                let path = path.to_str().ok_or("the path is not UTF-8")?;
                writeln!(
                    code,
                    "        ({:?}, include_str!({path:?})),",
                    name(&file)?
                )?;
            }
        }
        code.push_str("    ]),\n");
    }
    code.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("providers.rs"), code)?;
    Ok(())
}

/// The entries of a folder in the order of their names, watched for changes.
fn sorted(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let watched = folder.to_str().ok_or("the path is not UTF-8")?;
    // Build scripts speak to Cargo through their output.
    let line = format!("cargo::rerun-if-changed={watched}\n");
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes())?;
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> Result<&str, Box<dyn Error>> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.ok_or_else(|| "the name is not UTF-8".into())
}

//! A key file in folders of its own: as durable as what is sealed with it.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::disk::{Change, Disk};

/// The names that were made and not synced since. A name is durable once the directory it is in is synced.
fn not_durable(disk: &Disk) -> Vec<PathBuf> {
    let root = disk.root();
    let mut directories = HashMap::from([(inode(&root), root)]);
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in disk.record() {
        let of_two = entry.name.split('\n').next_back().unwrap();
        match entry.change {
            Change::Mkdir => {
                names.push(of_two.into());
                directories.insert(entry.inode, of_two.into());
            }
            Change::Create | Change::Link | Change::Rename => names.push(of_two.into()),
            Change::Sync => {
                let synced = directories.get(&entry.inode).map(PathBuf::as_path);
                names.retain(|name| name.parent() != synced);
            }
            Change::Write | Change::Truncate | Change::Unlink => {}
        }
    }
    names
}

/// So none of the data can be there, and sealed, without the key.
#[tokio::test]
async fn the_key_file_and_its_folders_are_durable_before_the_server_answers() {
    let disk = Disk::recorded();
    let key = disk.root().join("etc/headrace/keys");
    let mut server = disk
        .server()
        .env("HEADRACE_KEY_FILE", key.to_str().unwrap())
        .start();
    assert!(key.is_file());
    let not_durable = not_durable(&disk);
    let leads_to_the_key = |path: &&PathBuf| key.starts_with(path);
    let lost: Vec<&PathBuf> = not_durable.iter().filter(leads_to_the_key).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(server.terminate().success());
}

/// A process may be killed when the file has its name, and before that is durable.
#[tokio::test]
async fn a_key_file_that_was_found_is_durable_before_the_server_answers() {
    let disk = Disk::recorded();
    let key = disk.root().join("etc/keys");
    let start = || {
        let key = key.to_str().unwrap();
        disk.server().env("HEADRACE_KEY_FILE", key).start()
    };
    assert!(start().terminate().success());
    let folder = inode(key.parent().unwrap());
    let syncs = || {
        let of_folder = disk.record().filter(|entry| entry.inode == folder);
        of_folder
            .filter(|entry| entry.change == Change::Sync)
            .count()
    };
    let before = syncs();
    let mut again = start();
    assert!(syncs() > before);
    assert!(again.terminate().success());
}

fn inode(path: &Path) -> u64 {
    path.metadata().unwrap().ino()
}

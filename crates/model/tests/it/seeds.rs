//! What the fuzz targets ask for holds for their seeds: `cargo xtask fuzz` goes on from there.

use std::fs;
use std::path::Path;

#[path = "../../../../fuzz/src/targets/mod.rs"]
mod targets;

#[test]
fn every_fuzz_target_holds_for_its_seeds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in targets::ALL {
        let seeds: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().collect();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            target(&fs::read(seed.unwrap().path()).unwrap());
        }
    }
}

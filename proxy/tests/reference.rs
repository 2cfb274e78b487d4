//! docs/configuration.md says what this binary takes. `cargo xtask docs` writes it by running this test
//! with `PRISM_WRITE_DOCS` set.

use std::{env, fs, path::Path};

use prism_edge::{Builtins, config_registry};

#[test]
fn the_reference_is_up_to_date() {
    let registry = config_registry(&prism_filters::registry::builtin(), &Builtins::standard());
    let current = prism_config::reference(&registry);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    if env::var_os("PRISM_WRITE_DOCS").is_some() {
        fs::write(&path, &current).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(current.lines()).find(|(written, current)| written != current);
    assert!(
        written == current,
        "docs/configuration.md is not what the schema says; run `cargo xtask docs`. First difference: {differs:#?}"
    );
}

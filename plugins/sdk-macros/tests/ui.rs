//! What the attributes say to a mistake, and where they point.

#[test]
fn mistakes_are_explained_where_they_are() {
    // The messages are ours alone in these files: none depends on the compiler's version.
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

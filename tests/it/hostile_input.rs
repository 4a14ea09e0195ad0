//! What the fuzzer of `tests/fuzz` found worth keeping, thrown at the same readers again.

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/checks.rs"]
mod checks;

/// Throws every kept input at a target, whole and cut off at every byte. Answers how many whole
/// ones were taken.
fn replay(target: &str, check: fn(&[u8]) -> usize) -> usize {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut taken = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let input = fs::read(entry.unwrap().path()).unwrap();
        taken += usize::from(check(&input) > 0);
        (0..input.len()).for_each(|end| _ = check(&input[..end]));
    }
    taken
}

#[test]
fn no_request_of_the_corpus_breaks_a_reader_or_the_books() {
    let taken = replay("requests", checks::requests);
    assert!(taken >= 12, "only {taken} are taken");
}

#[test]
fn a_configuration_of_the_corpus_is_the_same_when_it_is_written_and_read_again() {
    assert!(replay("configuration", checks::configuration) >= 2);
}

#[test]
fn a_formula_of_the_corpus_is_the_same_when_it_is_written_and_read_again() {
    assert!(replay("formula", checks::formula) >= 4);
}

//! What the fuzzer of `tests/fuzz` found worth keeping, thrown at the same readers again.

use std::fs;
use std::path::Path;

use ringfence::http::reading::REQUESTS;

#[path = "../fuzz/src/checks.rs"]
mod checks;

fn inputs(kind: &str, target: &str) -> Vec<Vec<u8>> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let entries = fs::read_dir(fuzz.join(kind).join(target)).unwrap();
    entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

/// Throws every kept input at a target: those written by hand, which it must take, and those
/// found. Each whole, and cut off at every byte.
fn replay(target: &str, check: fn(&[u8]) -> usize) {
    let (seeds, corpus) = (inputs("seeds", target), inputs("corpus", target));
    assert!(!seeds.is_empty() && corpus.len() > 100, "{} and {}", seeds.len(), corpus.len());
    for seed in &seeds {
        assert!(check(seed) > 0, "{}", String::from_utf8_lossy(seed));
    }
    for input in seeds.iter().chain(&corpus) {
        (0..=input.len()).for_each(|end| _ = check(&input[..end]));
    }
}

/// A reader that nobody has thrown anything at is not tested, whatever else is. Where the corpus is older
/// than a reader, a byte that was found for another may count for it.
#[test]
fn every_request_has_an_input_by_hand_and_some_that_were_found() {
    for (kind, least) in [("seeds", 1), ("corpus", 5)] {
        let mut counts = vec![0; REQUESTS.len()];
        for input in inputs(kind, "requests") {
            if let Some(&which) = input.first() {
                counts[checks::which(which)] += 1;
            }
        }
        for (request, count) in REQUESTS.iter().zip(counts) {
            assert!(count >= least, "{kind} has {count} inputs for {request}: tests/fuzz/run, then minimise");
        }
    }
}

#[test]
fn no_request_of_the_corpus_breaks_a_reader_or_the_books() {
    replay("requests", checks::requests);
}

#[test]
fn a_configuration_of_the_corpus_is_the_same_when_it_is_written_and_read_again() {
    replay("configuration", checks::configuration);
}

#[test]
fn a_formula_of_the_corpus_is_the_same_when_it_is_written_and_read_again() {
    replay("formula", checks::formula);
}

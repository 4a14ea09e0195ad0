//! What holds for the tree as a whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use ringfence::settings::Cli;

/// What each part may use of the others; `src/lib.rs` says why. All but the core may log.
const MAY_USE: [(&str, &[&str]); 17] = [
    ("domain", &[]),
    ("store", &["domain"]),
    ("engine", &["store", "domain"]),
    ("oidc", &["deliver", "domain"]),
    ("otlp", &["deliver"]),
    ("http", &["oidc", "engine", "store", "domain"]),
    ("follow", &["store", "domain"]),
    ("deliver", &["store", "domain"]),
    ("verify", &["store", "domain"]),
    ("keys", &["app", "settings", "store", "domain"]),
    ("embedded", &[]),
    ("telemetry", &[]),
    ("settings", &["domain", "oidc", "otlp", "http", "engine", "follow", "deliver"]),
    ("demo", &["app", "engine", "store", "domain"]),
    ("check", &["app", "settings", "deliver", "http", "oidc", "otlp", "store"]),
    (
        "app",
        &[
            "oidc", "otlp", "check", "settings", "demo", "embedded", "follow", "deliver", "http", "engine",
            "store", "domain",
        ],
    ),
    ("main", &["app", "check", "settings", "verify", "keys", "http", "store", "engine", "domain"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a path, with its text.
fn sources(path: &Path) -> Vec<(PathBuf, String)> {
    if path.is_file() {
        return vec![(path.to_owned(), fs::read_to_string(path).unwrap())];
    }
    let mut files: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.is_dir() || file.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    files.iter().flat_map(|file| sources(file)).collect()
}

/// The files of a part: `NAME.rs`, and what is in `NAME/`.
fn part(name: &str) -> Vec<(PathBuf, String)> {
    let places = [root().join(format!("src/{name}.rs")), root().join("src").join(name)];
    places.iter().filter(|place| place.exists()).flat_map(|place| sources(place)).collect()
}

/// The parts that a file uses: `crate::store`, `crate::{engine, http}`.
fn used(text: &str) -> BTreeSet<&str> {
    let mut used = BTreeSet::new();
    for prefix in ["crate::", "ringfence::"] {
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at + prefix.len()..];
            let list = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or(rest);
            let first = if rest.starts_with('{') { list.split(',').collect() } else { vec![list] };
            used.extend(first.into_iter().map(|item| {
                let item = item.trim();
                &item[..item.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(item.len())]
            }));
        }
    }
    used.retain(|name| MAY_USE.iter().any(|(part, _)| part == name));
    used
}

#[test]
fn arrows_point_one_way() {
    for (name, may_use) in MAY_USE {
        for (file, text) in part(name) {
            let foreign: Vec<_> = used(&text)
                .into_iter()
                .filter(|other| *other != name && !may_use.contains(other))
                .filter(|other| *other != "telemetry" || name == "domain")
                .collect();
            assert!(foreign.is_empty(), "{} uses {foreign:?}", file.display());
        }
    }
}

#[test]
fn every_part_has_its_arrows() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let parts: BTreeSet<_> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")).collect();
    for name in parts {
        let name = name.trim_end_matches(';');
        assert!(MAY_USE.iter().any(|(part, _)| *part == name), "{name} is not in MAY_USE");
        assert!(lib.contains(&format!("`{name}")), "{name} is not in the code map of src/lib.rs");
    }
    for layer in ["domain", "store", "engine", "follow", "deliver", "http"] {
        for entry in fs::read_dir(root().join("src").join(layer)).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let is_there = file == "mod.rs" || lib.contains(&format!("`{file}`"));
            assert!(
                is_there || !file.ends_with(".rs"),
                "{layer}/{file} is not in the code map of src/lib.rs"
            );
        }
    }
}

#[test]
fn the_core_does_nothing_but_decide() {
    let forbidden =
        ["std::io", "std::fs", "std::net", "std::env", "std::time", "std::thread", "std::process"];
    let forbidden = forbidden.iter().chain(&["tokio", "sqlx", "axum", "tracing", "async fn", "new_v4"]);
    for (file, text) in part("domain") {
        for word in forbidden.clone() {
            assert!(!text.contains(word), "{} has {word}", file.display());
        }
    }
}

#[test]
fn sql_is_in_the_store_only() {
    for (name, _) in MAY_USE {
        // The private server makes its own database before there is a store.
        if ["store", "embedded"].contains(&name) {
            continue;
        }
        for (file, text) in part(name) {
            assert!(!text.contains("sqlx::query"), "{} has a query", file.display());
        }
    }
}

/// A variable that no setting reads would be a wish.
#[test]
fn every_variable_that_is_written_about_exists() {
    let program = Cli::command();
    let actions = ["serve", "migrate"].map(|name| program.find_subcommand(name).unwrap());
    let arguments = actions.into_iter().flat_map(clap::Command::get_arguments);
    let known: BTreeSet<_> = arguments.filter_map(|argument| argument.get_env()?.to_str()).collect();
    for file in ["README.md", "docs/operators.md", "docs/integrators.md", "Dockerfile", "docker-compose.yml"]
    {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let is_part = |c: char| c.is_ascii_uppercase() || c == '_';
        for word in text.split(|c| !is_part(c)).filter(|word| word.starts_with("RINGFENCE_")) {
            assert!(known.contains(word) || word == "RINGFENCE_", "{file} has {word}, which nothing reads");
        }
    }
}

#[test]
fn every_flag_of_serve_has_its_variable_and_every_variable_its_flag() {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let mut flags = 0;
    for argument in serve.get_arguments().filter(|argument| argument.get_id() != "help") {
        let flag = argument.get_long().unwrap();
        let expected = format!("RINGFENCE_{}", flag.to_uppercase().replace('-', "_"));
        assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(&*expected), "--{flag}");
        assert!(argument.get_help().is_some(), "--{flag}");
        flags += 1;
    }
    assert!(flags > 30, "{flags}");
}

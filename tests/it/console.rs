//! The console's files. What the page does is tested in a browser: `tests/console/`.

use std::collections::BTreeSet;
use std::fs;

use super::support::Service;

/// The quoted names of scripts and of other files that a text loads.
fn loaded(text: &str) -> BTreeSet<String> {
    let quoted = text.split('"').skip(1).step_by(2);
    let names = quoted.filter_map(|word| word.strip_prefix("console/").or_else(|| word.strip_prefix("./")));
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn every_file_of_the_console_is_served_and_loaded() {
    let service = Service::start().await;
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/console");
    let mut all_loaded = BTreeSet::from(["index.html".to_owned()]);
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = if name == "index.html" { "/console".to_owned() } else { format!("/console/{name}") };
        let answer = service.get(&path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.text, fs::read_to_string(format!("{directory}/{name}")).unwrap(), "{path}");
        all_loaded.extend(loaded(&answer.text));
        files.insert(name);
    }
    assert_eq!(files, all_loaded);
    service.stop().await;
}

#[tokio::test]
async fn what_is_known_is_not_sent_again_and_nothing_foreign_is_let_in() {
    let service = Service::start().await;
    let address = format!("{}/console/app.js", service.base);
    let client = reqwest::Client::new();
    let answer = client.get(&address).send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/javascript; charset=utf-8");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("cache-control"), "no-cache");
    assert!(header("content-security-policy").starts_with("default-src 'self'; "));
    let tag = header("etag");
    let again = client.get(&address).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), again.text().await.unwrap()), (304, String::new()));
    let other = client.get(&address).header("if-none-match", "\"other\"").send().await.unwrap();
    assert_eq!(other.status().as_u16(), 200);
    service.stop().await;
}

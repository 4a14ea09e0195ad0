//! The image and its composition, as far as they can be checked without running them.

use std::process::Stdio;

use super::support::{Service, eventually};

const DOCKERFILE: &str = include_str!("../../Dockerfile");
const COMPOSITION: &str = include_str!("../../docker-compose.yml");

/// The image's own health check, put to a service.
async fn is_healthy(base: &str) -> bool {
    let json = DOCKERFILE.split("CMD ").find(|rest| rest.starts_with("[\"bash\"")).unwrap();
    let command: Vec<String> = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    let script = command[2].replace("127.0.0.1/8080", &base["http://".len()..].replace(':', "/"));
    assert_ne!(script, command[2]);
    let mut bash = tokio::process::Command::new(&command[0]);
    bash.arg(&command[1]).arg(script).stderr(Stdio::null());
    bash.status().await.unwrap().success()
}

#[tokio::test]
async fn the_health_check_tells() {
    let service = Service::start().await;
    let base = service.base.clone();
    eventually("healthy", || is_healthy(&base)).await;
    service.stop().await;
    assert!(!is_healthy(&base).await);
}

#[test]
fn what_is_copied_exists_and_is_not_ignored() {
    let ignore = include_str!("../../.dockerignore");
    let copies = DOCKERFILE.lines().filter_map(|line| line.strip_prefix("COPY "));
    for line in copies.filter(|line| !line.starts_with("--from=")) {
        let (sources, _) = line.rsplit_once(' ').unwrap();
        for source in sources.split(' ') {
            assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(source).exists(), "{source}");
            assert!(ignore.lines().any(|line| line == format!("!{source}")), "{source} is ignored");
        }
    }
}

/// Cargo builds nothing where a target's file is missing; those of ours are empty in the first layer.
#[test]
fn the_stand_ins_are_there_for_every_benchmark() {
    let manifest = include_str!("../../Cargo.toml");
    let mut count = 0;
    for path in manifest.lines().filter_map(|line| line.strip_prefix("path = \"benches/")) {
        let path = path.trim_end_matches('"');
        let directory = path.trim_end_matches("/main.rs");
        let has = |word: &str| DOCKERFILE.split_whitespace().any(|each| each == word);
        assert!(has(&format!("benches/{directory}")), "the Dockerfile makes no benches/{directory}");
        assert!(has(&format!("benches/{path}")), "the Dockerfile makes no benches/{path}");
        count += 1;
    }
    assert_eq!(count, manifest.matches("[[bench]]").count());
}

/// The same text builds the same image next year.
#[test]
fn versions_are_pinned() {
    let bases = DOCKERFILE.lines().filter_map(|line| line.strip_prefix("FROM "));
    let images = COMPOSITION.lines().filter_map(|line| line.trim().strip_prefix("image: "));
    for image in bases.chain(images) {
        let tag = image.split(' ').next().unwrap().split_once(':').unwrap_or_default().1;
        let tag = tag.strip_prefix('v').unwrap_or(tag);
        assert!(tag.starts_with(|c: char| c.is_ascii_digit()) && tag.contains('.'), "{image}");
    }
}

/// Whoever reaches it over a network needs a key.
#[test]
fn what_listens_beyond_its_machine_asks_for_keys() {
    let image = DOCKERFILE.lines().find(|line| line.contains("RINGFENCE_LISTEN=")).unwrap();
    assert!(image.contains("RINGFENCE_AUTH=true"), "{image}");
    let (_, service) = COMPOSITION.split_once("RINGFENCE_LISTEN: ").unwrap();
    assert!(service.lines().any(|line| line.trim() == "RINGFENCE_AUTH: \"true\""), "{service}");
}

#[test]
fn only_this_machine_reaches_it() {
    let ports = COMPOSITION.lines().filter_map(|line| line.trim().strip_prefix("ports: "));
    let ours = [r#"["127.0.0.1:8080:8080"]"#, r#"["127.0.0.1:9090:9090"]"#, r#"["127.0.0.1:3000:3000"]"#];
    assert_eq!(ports.collect::<Vec<_>>(), ours);
    assert!(!COMPOSITION.contains("network_mode"));
}

/// What is mounted of this tree is there, and cannot be written by what it is mounted into.
#[test]
fn what_is_mounted_exists_and_is_read_only() {
    let mounts: Vec<&str> = COMPOSITION.lines().filter_map(|line| line.trim().strip_prefix("- ./")).collect();
    assert_eq!(mounts.len(), 4, "{mounts:?}");
    for mount in mounts {
        let [source, target, "ro"] = mount.split(':').collect::<Vec<_>>()[..] else {
            panic!("{mount} can be written")
        };
        assert!(target.starts_with('/'), "{mount}");
        assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(source).exists(), "{source}");
    }
}

/// Prometheus reads the service that the composition names, under the name that the alert rules go by; and
/// Grafana reads Prometheus.
#[test]
fn those_who_watch_know_where_to_look() {
    let scraped = include_str!("../../docs/monitoring/prometheus.yml");
    assert!(scraped.contains("targets: [\"ringfence:8080\"]") && COMPOSITION.contains("\n  ringfence:\n"));
    assert!(COMPOSITION.contains("RINGFENCE_LISTEN: 0.0.0.0:8080"));
    let alerts = include_str!("../../docs/monitoring/alerts.yml");
    assert!(scraped.contains("job_name: ringfence\n") && alerts.contains("up{job=\"ringfence\"}"));
    let source = include_str!("../../docs/monitoring/grafana/datasources/prometheus.yml");
    assert!(source.contains("url: http://prometheus:9090\n") && COMPOSITION.contains("\n  prometheus:\n"));
    let provider = include_str!("../../docs/monitoring/grafana/dashboards/ringfence.yml");
    let folder = provider.split("path: ").nth(1).unwrap().split('}').next().unwrap();
    assert!(COMPOSITION.contains(&format!("dashboard.json:{folder}/dashboard.json:ro")), "{folder}");
}

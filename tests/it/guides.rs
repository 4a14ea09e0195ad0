//! The documents that people read: their commands as they stand there, and what their words lead to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use super::process::{DataDir, Program, User, command};
use super::support::{Service, database};

/// Where the service is, in all documents.
const BASE: &str = "http://127.0.0.1:8080";
/// Where the guide for operators has PostgreSQL.
const POSTGRES: &str = "/var/lib/postgresql";
/// What a block may be: commands that are run, what they answer, as JSON or as it is, settings of
/// PostgreSQL, statements for it; and commands that need an engine, a network or a system of their own,
/// which are not run.
const KINDS: [&str; 6] = ["sh", "json", "text", "ini", "sql", "console"];
/// What a person reads.
const LINES_MAX: usize = 300;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The blocks of a document, each with its kind and the line behind it. There is no code beside them.
fn blocks(name: &str) -> Vec<(String, String, usize)> {
    let (mut blocks, mut open) = (Vec::new(), None::<(String, String)>);
    for (number, line) in read(name).lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                assert!(KINDS.contains(&kind), "{name}:{}: a block of {kind:?}", number + 1);
                open = Some((kind.to_owned(), String::new()));
            }
            (Some(_), Some(_)) => {
                let (kind, text) = open.take().unwrap();
                blocks.push((kind, text, number + 1));
            }
            (Some((_, text)), None) => *text += &format!("{line}\n"),
            (None, None) => assert!(!line.starts_with("    "), "{name}:{}: code without a kind", number + 1),
        }
    }
    assert!(open.is_none(), "{name} ends within a block");
    blocks
}

/// Commands, with what they answer where it is shown.
pub struct Step {
    pub command: String,
    pub answer: Option<String>,
}

/// What a document says to do, in order.
pub fn steps(name: &str) -> Vec<Step> {
    let mut steps: Vec<(Step, usize)> = Vec::new();
    for (kind, text, end) in blocks(name) {
        match kind.as_str() {
            "sh" => steps.push((Step { command: text, answer: None }, end)),
            "json" | "text" => {
                let (step, asked) = steps.last_mut().unwrap();
                let lines = text.lines().count() + 2;
                assert_eq!(*asked + lines, end, "{name}:{end}: this answers nothing");
                step.answer = Some(text);
            }
            _ => {}
        }
    }
    steps.into_iter().map(|(step, _)| step).collect()
}

/// A shell, as a person has it.
pub fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", command]).stdin(Stdio::null()).kill_on_drop(true);
    shell
}

/// Runs commands, which must not fail.
pub async fn output(mut shell: Command, command: &str) -> String {
    let output = shell.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let answered = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{} {said}{answered}\n{command}", output.status);
    answered
}

/// Runs commands against a service that is under test.
pub async fn run(service: &Service, command: &str) -> String {
    let command = command.replace(BASE, &service.base);
    output(shell(&command), &command).await
}

/// The header lines, and the body but for what depends on the rest of the ledger.
pub fn comparable(answer: &str) -> (Vec<&str>, Value) {
    let body = answer.find(['{', '[']).unwrap_or(answer.len());
    let Ok(mut json) = serde_json::from_str::<Value>(&answer[body..]) else {
        return (answer.trim().lines().collect(), Value::Null);
    };
    if let Some(event_id) = json.get_mut("eventId") {
        assert!(event_id.is_u64(), "{answer}");
        *event_id = Value::Null;
    }
    let headers = answer[..body].lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    (headers, json)
}

/// Holds what was answered against what is shown.
pub fn check(step: &Step, given: &str) {
    if let Some(shown) = &step.answer {
        assert_eq!(comparable(given), comparable(shown), "\n{}\nanswers:\n{given}", step.command);
    }
}

#[tokio::test]
async fn the_guide_for_integrators_is_true() {
    // Often enough that who has seen enough of a stream notices that nobody reads on.
    let service = Service::start_on(database().await, &["--demo", "--heartbeat-time-ms", "200"]).await;
    let steps = steps("docs/integrators.md");
    assert!(steps.len() >= 10, "the guide has lost its commands");
    for step in &steps {
        // A busy machine may need longer than a reader of the guide is to wait.
        check(step, &run(&service, &step.command.replace(" -m 2 ", " -m 60 ")).await);
    }
    service.verify().await;
    service.stop().await;
}

/// Where the programs of PostgreSQL are, as a person would have them.
fn path_with_postgres(program: &Path) -> String {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<PathBuf> = installed.map(|entry| entry.unwrap().path().join("bin")).collect();
    versions.sort_by_key(|bin| bin.parent().unwrap().file_name().unwrap().to_str()?.parse::<u32>().ok());
    versions.reverse();
    let mut path = vec![program.parent().unwrap().to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    path.extend(versions);
    std::env::join_paths(path).unwrap().into_string().unwrap()
}

/// A PostgreSQL as the guide for operators has it, and who runs it.
struct Host {
    dir: DataDir,
    program: PathBuf,
    user: Option<User>,
    service: Option<String>,
}

impl Host {
    fn new() -> Host {
        let user = User::other_than_root();
        let own = || (DataDir::new(), PathBuf::from(env!("CARGO_BIN_EXE_ringfence")));
        let (dir, program) = user.as_ref().map_or_else(own, DataDir::of);
        Host { dir, program, user, service: None }
    }

    fn url(&self, port: u16) -> String {
        format!("postgres://ringfence@localhost:{port}/ringfence?host={}", self.dir.path())
    }

    /// Commands of the guide, by whom PostgreSQL belongs to.
    async fn run(&self, text: &str) -> String {
        let dir = self.dir.path();
        // To look whether it is ready takes a second at most, and a busy machine may need more.
        let mut text = text.replace(POSTGRES, dir).replace("curl -sf ", "curl -sf --retry 9 ");
        if let Some(service) = &self.service {
            text = text.replace(BASE, service);
        }
        let mut shell = shell(&text);
        if let Some(user) = &self.user {
            shell.uid(user.uid).gid(user.gid);
        }
        shell.current_dir(Path::new(dir).parent().unwrap());
        shell.env("PATH", path_with_postgres(&self.program)).env("HOME", dir);
        shell.env("DATABASE_URL", self.url(5432)).env("RESTORED_URL", self.url(5433));
        shell.envs([("PGHOST", dir), ("PGUSER", "postgres"), ("PGDATABASE", "ringfence")]);
        output(shell, &text).await
    }

    /// The server, with the settings of the guide.
    async fn start(&self, settings: &str) {
        let make = format!(
            "mkdir {POSTGRES} {POSTGRES}/archive
            initdb -D {POSTGRES}/postgres --username=postgres --auth=trust --encoding=UTF8 --locale=C --no-sync
            cat >> {POSTGRES}/postgres/postgresql.conf <<'END'
listen_addresses = ''
unix_socket_directories = '{POSTGRES}'
{settings}
END
            pg_ctl -D {POSTGRES}/postgres -w -l {POSTGRES}/log start >/dev/null
            psql -d postgres -qc 'CREATE ROLE ringfence LOGIN' -c 'CREATE DATABASE ringfence OWNER ringfence'"
        );
        self.run(&make).await;
    }
}

#[tokio::test]
async fn the_guide_for_operators_is_true() {
    const GUIDE: &str = "docs/operators.md";
    let mut host = Host::new();
    let blocks = blocks(GUIDE);
    let [settings] = &blocks.iter().filter(|block| block.0 == "ini").collect::<Vec<_>>()[..] else {
        panic!("the settings of PostgreSQL are one block");
    };
    host.start(&settings.1).await;
    let mut serve = command(
        &host.program,
        &["serve", "--auth", "--listen", "127.0.0.1:0", "--database-url", &host.url(5432)],
    );
    if let Some(user) = &host.user {
        serve.uid(user.uid).gid(user.gid);
    }
    let service = Program::start(serve).await;
    host.service = Some(service.base.clone());
    let steps = steps(GUIDE);
    assert!(steps.len() >= 8, "the guide has lost its commands");
    let mut verified = Vec::new();
    for step in &steps {
        let answer = host.run(&step.command).await;
        check(step, &answer);
        verified.extend(answer.lines().filter(|line| line.contains(" events in ")).map(str::to_owned));
    }
    service.stop().await;
    // What was restored is what the service has: nothing was done since the backup.
    let [restored, own] = &verified[..] else { panic!("two are verified: {verified:?}") };
    assert!(restored == own && !own.starts_with("0 "), "{verified:?}");
}

#[tokio::test]
async fn the_guide_to_the_database_is_true() {
    const GUIDE: &str = "docs/database.md";
    let host = Host::new();
    host.start("").await;
    // Whoever reads it has no database yet.
    host.run("psql -d postgres -qc 'DROP DATABASE ringfence'").await;
    let url = |role: &str| host.url(5432).replace("//ringfence@", &format!("//{role}@"));
    let here = url("").split_once('@').unwrap().1.to_owned();
    let blocks = blocks(GUIDE);
    let of = |kind: &str| {
        let texts = blocks.iter().filter(move |block| block.0 == kind).map(|block| block.1.as_str());
        texts.collect::<Vec<_>>()
    };
    let [roles, sights] = of("sql")[..] else { panic!("roles, and what they are to see") };
    host.run(&format!("psql -d postgres -qv ON_ERROR_STOP=1 <<'END'\n{roles}END")).await;
    let [setup, verify] = of("sh")[..] else { panic!("how it is set up, and how it is verified") };
    let command = |text: &str| {
        assert!(text.contains("@host/ringfence"), "{text}");
        text.replace("--check", "--check --listen 127.0.0.1:0")
            .replace("@host/ringfence", &format!("@{here}"))
    };
    let said = host.run(&command(setup)).await;
    assert!(said.contains("the schema is up to date") && said.contains("no problem found"), "{said}");
    let mut serve = super::process::command(
        &host.program,
        &["serve", "--demo", "--listen", "127.0.0.1:0", "--database-url", &url("ringfence_service")],
    );
    if let Some(user) = &host.user {
        serve.uid(user.uid).gid(user.gid);
    }
    let service = Program::start(serve).await;
    let seen = async |setting: &str| {
        let ask = format!(
            "psql -U ringfence_service -At <<'END'\n{setting}\nSELECT count(*) FROM environment;\nEND"
        );
        host.run(&ask).await.lines().last().unwrap().to_owned()
    };
    assert_eq!(seen("").await, "0");
    let settings: Vec<&str> = sights.lines().collect();
    assert_eq!(settings.len(), 3);
    for setting in settings {
        assert_eq!(seen(setting).await, "1", "{setting}");
    }
    let said = host.run(&command(verify)).await;
    assert!(said.contains("1 environments replayed, 0 differences"), "{said}");
    service.stop_with(|log| assert!(!log.contains("the database's role"), "{log}")).await;
}

/// The headings of a document.
fn headings(name: &Path) -> Vec<String> {
    let text = fs::read_to_string(name).unwrap();
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        is_code ^= line.starts_with("```");
        !is_code && line.starts_with('#')
    });
    lines.map(|line| line.trim_start_matches('#').trim().to_owned()).collect()
}

#[test]
fn the_guide_has_a_section_for_every_alert() {
    let rules = read("docs/monitoring/alerts.yml");
    let alerts: BTreeSet<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect();
    let sections: BTreeSet<_> = headings(&root().join("docs/operators.md"))
        .into_iter()
        .filter(|heading| heading.starts_with("Ringfence"))
        .collect();
    assert_eq!(alerts, sections);
    assert!(!alerts.is_empty());
}

#[test]
fn the_guide_says_what_to_do_at_every_code() {
    let table = read("src/http/problem.rs");
    let (_, table) = table.split_once("\nkinds! {").unwrap();
    let (table, _) = table.split_once("\n}").unwrap();
    let codes: Vec<_> = table
        .lines()
        .filter(|line| line.starts_with("    ") && !line.starts_with("     "))
        .map(|line| line.split('"').nth(1).unwrap())
        .collect();
    let guide = read("docs/integrators.md");
    assert!(codes.len() > 30);
    for code in codes {
        let rows =
            guide.lines().filter(|line| line.starts_with("| **") && line.contains(&format!("`{code}`")));
        assert_eq!(rows.count(), 1, "docs/integrators.md says what to do at {code} in one row");
    }
}

/// Every document.
fn documents(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap();
        if entry.is_dir() && !["target", "node_modules"].contains(&name) && !name.starts_with('.') {
            found.extend(documents(&entry));
        } else if name.ends_with(".md") {
            found.push(entry);
        }
    }
    found
}

/// What a heading is called in an address.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for document in documents(root()) {
        let text = fs::read_to_string(&document).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap();
            if target.contains("://") {
                continue;
            }
            let (path, section) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            assert!(file.exists(), "{}: there is no {target}", document.display());
            let is_there = section.is_empty() || headings(&file).iter().any(|each| anchor(each) == section);
            assert!(is_there, "{}: there is no section {target}", document.display());
            count += 1;
        }
    }
    assert!(count > 10, "the documents have lost their links");
}

#[test]
fn a_person_can_read_them() {
    for name in ["README.md", "docs/operators.md", "docs/integrators.md"] {
        let lines = read(name).lines().count();
        assert!(lines < LINES_MAX, "{name} has {lines} lines");
    }
}

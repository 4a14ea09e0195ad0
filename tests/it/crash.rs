//! Kills under load: what was acknowledged is kept, and counted once.
//!
//! The clients are outside of what is killed. They write every answer down, and send again
//! what was not answered.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::load::{Client, back_off, consume};
use super::process::{DataDir, Program, User, command, run, runs, signal};
use super::support::{Answer, eventually};

const CLIENTS: usize = 16;
const PRODUCTS: [&str; 3] = ["Bike", "Helmet", "Bell"];
const STOCK: u32 = 1_000_000;

/// Where and as whom the program runs.
struct Site {
    dir: DataDir,
    program: std::path::PathBuf,
    user: Option<User>,
}

impl Site {
    fn new(user: Option<User>) -> Site {
        match user {
            None => Site { dir: DataDir::new(), program: env!("CARGO_BIN_EXE_ringfence").into(), user },
            Some(user) => {
                let (dir, program) = DataDir::of(&user);
                Site { dir, program, user: Some(user) }
            }
        }
    }

    fn command(&self, action: &[&str]) -> Command {
        let mut command = command(Path::new(&self.program), action);
        command.args(["--data-dir", self.dir.path()]).current_dir("/");
        if let Some(User { uid, gid }) = self.user {
            command.as_std_mut().uid(uid).gid(gid);
        }
        command
    }

    async fn serve(&self) -> Program {
        Program::start(self.command(&["serve", "--listen", "127.0.0.1:0"])).await
    }

    async fn verify(&self, events: usize) {
        let verified = run(self.command(&["verify"])).await;
        let expected = format!("{events} events in 1 environments replayed, 0 differences");
        assert_eq!(
            (verified.code, verified.summary()),
            (Some(0), &*expected),
            "{}{}",
            verified.stdout,
            verified.stderr
        );
    }

    fn socket(&self) -> PgConnectOptions {
        let socket = Path::new(self.dir.path()).join("socket");
        PgConnectOptions::new_without_pgpass().socket(socket).username("ringfence").database("ringfence")
    }
}

/// What the clients wrote down.
#[derive(Default)]
struct Notes {
    /// Every acknowledged id with its product and answer.
    acknowledged: BTreeMap<String, (&'static str, String)>,
    /// How many answers were 503, by their code.
    unavailable: BTreeMap<String, usize>,
    /// How many requests had no answer at all.
    broken: usize,
}

impl Notes {
    /// Whether the command was acknowledged.
    fn write_down(&mut self, id: &str, product: &'static str, answer: Option<Answer>) -> bool {
        match answer {
            Some(answer) if answer.status == 200 => {
                self.acknowledged.insert(id.to_owned(), (product, answer.text));
                return true;
            }
            Some(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text);
                assert_eq!(answer.header("retry-after"), Some("1"));
                let code = answer.json()["code"].as_str().unwrap().to_owned();
                *self.unavailable.entry(code).or_default() += 1;
            }
            None => self.broken += 1,
        }
        false
    }
}

/// Clients that consume until they are told to stop, wherever the service is.
struct Load {
    notes: Arc<Mutex<Notes>>,
    service: watch::Sender<Option<String>>,
    clients: JoinSet<()>,
}

impl Load {
    fn start(base: &str) -> Load {
        let notes = Arc::new(Mutex::new(Notes::default()));
        let (service, served) = watch::channel(Some(base.to_owned()));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(consume_on(number, Arc::clone(&notes), served.clone()));
        }
        Load { notes, service, clients }
    }

    fn acknowledged(&self) -> usize {
        self.notes.lock().unwrap().acknowledged.len()
    }

    /// Waits until every client had an answer, most likely, and is at it again.
    async fn goes_on(&self) {
        let before = self.acknowledged();
        eventually("the clients are answered", async || self.acknowledged() > before + 10 * CLIENTS).await;
    }

    fn moved_to(&self, program: &Program) {
        self.service.send(Some(program.base.clone())).unwrap();
    }

    fn take_trouble(&self) -> (BTreeMap<String, usize>, usize) {
        let mut notes = self.notes.lock().unwrap();
        (std::mem::take(&mut notes.unavailable), std::mem::take(&mut notes.broken))
    }

    /// Lets every client have its last answer.
    async fn end(mut self) -> BTreeMap<String, (&'static str, String)> {
        self.service.send(None).unwrap();
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
        std::mem::take(&mut self.notes.lock().unwrap().acknowledged)
    }
}

async fn consume_on(number: usize, notes: Arc<Mutex<Notes>>, service: watch::Receiver<Option<String>>) {
    let mut client = Client::new("");
    for count in 0.. {
        let Some(base) = service.borrow().clone() else { return };
        client.base = base;
        let (id, product) = (format!("{number}-{count}"), PRODUCTS[(number + count) % PRODUCTS.len()]);
        let body = consume(&id, product, 1);
        loop {
            let answer = client.post("allocation/consume", &body).await.ok();
            if notes.lock().unwrap().write_down(&id, product, answer) {
                break;
            }
            back_off().await;
            if let Some(base) = service.borrow().clone() {
                client.base = base;
            }
        }
    }
}

/// Every answer is given again, and they are all that happened.
async fn hold_against(acknowledged: &BTreeMap<String, (&'static str, String)>, client: &Client) {
    let mut repeats = JoinSet::new();
    let mut versions: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for (id, (product, text)) in acknowledged {
        let (client, body, text) = (client.clone(), consume(id, product, 1), text.clone());
        let version = serde_json::from_str::<Value>(&text).unwrap()["version"].as_u64().unwrap();
        assert!(versions.entry(product).or_default().insert(version), "{id}: version {version} is twice");
        if repeats.len() == CLIENTS {
            repeats.join_next().await.unwrap().unwrap();
        }
        repeats.spawn(async move {
            let again = client.done("allocation/consume", body).await;
            assert_eq!((&again.text, again.header("idempotent-replayed")), (&text, Some("true")));
        });
    }
    while let Some(repeat) = repeats.join_next().await {
        repeat.unwrap();
    }
    for product in PRODUCTS {
        let of_product = &versions[product];
        let count = of_product.len() as u64;
        // The first two are the stock and its allocation.
        assert_eq!((of_product.first(), of_product.last()), (Some(&3), Some(&(count + 2))), "{product}");
        assert_eq!(client.balance(product).await, (u64::from(STOCK) - count, count), "{product}");
    }
}

async fn survives(site: Site, rounds: usize) {
    let mut program = site.serve().await;
    let client = Client::new(&program.base);
    client.configure().await;
    for product in PRODUCTS {
        client.allocate_all(product, STOCK).await;
    }
    let load = Load::start(&program.base);
    for _ in 0..rounds {
        load.goes_on().await;
        let orphan = site.dir.postmaster().unwrap();
        program.kill().await;
        assert!(runs(orphan), "the server outlives the service, or the next start shows nothing");
        program = site.serve().await;
        assert!(!runs(orphan), "one server at a time");
        load.moved_to(&program);
        load.goes_on().await;
        let (_, broken) = load.take_trouble();
        assert!(broken > 0, "nobody noticed");

        let postmaster = site.dir.postmaster().unwrap();
        signal("KILL", postmaster);
        eventually("another server", async || site.dir.postmaster().is_some_and(|pid| pid != postmaster))
            .await;
        load.goes_on().await;
        let (unavailable, broken) = load.take_trouble();
        assert!(unavailable["database-unavailable"] > 0, "nobody noticed");
        assert_eq!((unavailable.len(), broken), (1, 0), "{unavailable:?}");

        // The files of both are left, and name processes that are no more.
        let postmaster = site.dir.postmaster().unwrap();
        signal("KILL", program.pid);
        signal("KILL", postmaster);
        program.end().await;
        assert_eq!(site.dir.postmaster(), Some(postmaster));
        program = site.serve().await;
        load.moved_to(&program);
    }
    load.goes_on().await;
    let acknowledged = load.end().await;
    hold_against(&acknowledged, &Client::new(&program.base)).await;
    // Not in order, so that the last start is that of verify.
    let postmaster = site.dir.postmaster().unwrap();
    signal("KILL", program.pid);
    signal("KILL", postmaster);
    program.end().await;
    site.verify(acknowledged.len() + 2 * PRODUCTS.len()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_of_the_service_and_of_its_server() {
    survives(Site::new(None), 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_of_an_ordinary_users_service() {
    match User::other_than_root() {
        Some(nobody) => survives(Site::new(Some(nobody)), 1).await,
        None => eprintln!("not needed: all other tests are an ordinary user's"),
    }
}

#[tokio::test]
async fn a_server_whose_connection_outlives_it_comes_back() {
    let site = Site::new(None);
    let program = site.serve().await;
    let client = Client::new(&program.base);
    client.configure().await;
    client.allocate_all("Bike", 10).await;

    // One that computes does not notice that its postmaster is gone, and delays the restart.
    let mut busy = PgConnection::connect_with(&site.socket()).await.unwrap();
    let busy = tokio::spawn(async move {
        let query = "SELECT count(*) FROM generate_series(1, 1500) a, generate_series(1, 10000) b";
        busy.execute(query).await.map(|_| ())
    });
    let mut connection = PgConnection::connect_with(&site.socket()).await.unwrap();
    eventually("the query runs", async || {
        let active = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%10000%' AND pid <> pg_backend_pid()";
        connection.fetch_optional(active).await.unwrap().is_some()
    })
    .await;
    signal("KILL", site.dir.postmaster().unwrap());
    let answer = client.settle("allocation/consume", &consume("1", "Bike", 1)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let _ = busy.await.unwrap();
    assert_eq!(client.balance("Bike").await, (9, 1));
    signal("TERM", program.pid);
    let ended = program.end().await;
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("pre-existing shared memory block"), "{}", ended.stderr);
    site.verify(3).await;
}

//! The outside client: it writes every answer down, sends again what was not answered, and
//! holds the books against what it wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Row};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::scale;
use crate::load::{Client, back_off, consume};
use crate::process::{DataDir, Program, User, command, run};
use crate::support::{Answer, eventually};

pub const CLIENTS: usize = 16;
pub const PRODUCTS: [&str; 3] = ["Bike", "Helmet", "Bell"];
pub const STOCK: u32 = 1_000_000;
/// Events before the clients': for each product the stock and its allocation.
pub const SETUP: usize = 2 * PRODUCTS.len();
/// Each so many commands of a client one asks for more than there is.
const REFUSED_EACH: usize = 10;
/// Acknowledged commands that are sent again at the end.
const REPEATS_MAX: usize = 3_000;

/// How long a 503 may take: an exchange that hangs has half a second where there is one, whatever else is wrong
/// is told at once, and the machine may have other things to do.
fn told_max() -> Duration {
    Duration::from_secs(scale(3, 1))
}

/// Where and as whom the program runs, with a server of its own.
pub struct Site {
    pub dir: DataDir,
    program: std::path::PathBuf,
    user: Option<User>,
}

impl Site {
    pub fn new(user: Option<User>) -> Site {
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
            std::os::unix::process::CommandExt::gid(command.as_std_mut(), gid);
            std::os::unix::process::CommandExt::uid(command.as_std_mut(), uid);
        }
        command
    }

    pub async fn serve(&self) -> Program {
        self.serve_with(&[]).await
    }

    pub async fn serve_with(&self, arguments: &[&str]) -> Program {
        let action = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        Program::start(self.command(&action)).await
    }

    /// Replays the ledger, which has so many events.
    pub async fn verify(&self, events: usize) {
        let verified = run(self.command(&["verify"])).await;
        let expected = format!("{events} events in 1 environments replayed, 0 differences");
        let said = format!("{}{}", verified.stdout, verified.stderr);
        assert_eq!((verified.code, verified.summary()), (Some(0), &*expected), "{said}");
    }

    pub fn database(&self) -> PgConnectOptions {
        let socket = Path::new(self.dir.path()).join("socket");
        PgConnectOptions::new_without_pgpass().socket(socket).username("ringfence").database("ringfence")
    }
}

/// Configures the environment, and allocates stock of every product.
pub async fn set_up(base: &str) -> Client {
    let client = Client::new(base);
    client.configure().await;
    for product in PRODUCTS {
        client.allocate_all(product, STOCK).await;
    }
    client
}

/// What the clients wrote down.
#[derive(Default)]
pub struct Log {
    /// Every acknowledged id with its product and answer.
    pub acknowledged: BTreeMap<String, (&'static str, String)>,
    /// Every id that was refused for good.
    pub refused: BTreeSet<String>,
    /// How many answers were 503, by their code.
    pub unavailable: BTreeMap<String, usize>,
    /// How long each 503 took.
    pub told: Vec<Duration>,
    /// How many requests had no answer at all.
    pub broken: usize,
}

impl Log {
    /// Whether it is known what became of the command.
    fn write_down(&mut self, command: &Sent, answer: Option<Answer>, took: Duration) -> bool {
        let Some(answer) = answer else {
            self.broken += 1;
            return false;
        };
        match answer.status {
            200 if !command.is_too_much => {
                self.acknowledged.insert(command.id.clone(), (command.product, answer.text));
            }
            409 if command.is_too_much => {
                assert_eq!(answer.json()["code"], "insufficient-allocation");
                self.refused.insert(command.id.clone());
            }
            503 => {
                assert_eq!(answer.header("retry-after"), Some("1"));
                let code = answer.json()["code"].as_str().unwrap().to_owned();
                *self.unavailable.entry(code).or_default() += 1;
                self.told.push(took);
                return false;
            }
            status => panic!("{} is answered {status}: {}", command.id, answer.text),
        }
        true
    }
}

/// A command of a client.
struct Sent {
    id: String,
    product: &'static str,
    is_too_much: bool,
}

impl Sent {
    fn nth(client: usize, count: usize) -> Sent {
        let product = PRODUCTS[(client + count) % PRODUCTS.len()];
        Sent { id: format!("{client}-{count}"), product, is_too_much: count % REFUSED_EACH == 1 }
    }

    fn body(&self) -> Value {
        consume(&self.id, self.product, if self.is_too_much { 2 * STOCK } else { 1 })
    }
}

/// Clients that consume until they are told to stop, wherever the service is.
pub struct Load {
    log: Arc<Mutex<Log>>,
    service: watch::Sender<Option<String>>,
    clients: JoinSet<()>,
}

impl Load {
    pub fn start(base: &str) -> Load {
        let log = Arc::new(Mutex::new(Log::default()));
        let (service, served) = watch::channel(Some(base.to_owned()));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(consume_on(number, Arc::clone(&log), served.clone()));
        }
        Load { log, service, clients }
    }

    pub fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    /// Waits until every client had an answer, most likely, and is at it again.
    pub async fn goes_on(&self) {
        let before = self.log().acknowledged.len();
        let goal = before + 10 * CLIENTS;
        eventually("the clients are answered", async || self.log().acknowledged.len() > goal).await;
    }

    pub fn moved_to(&self, program: &Program) {
        self.service.send(Some(program.base.clone())).unwrap();
    }

    /// The 503s by their code and the requests without an answer, since this was last asked.
    pub fn take_trouble(&self) -> (BTreeMap<String, usize>, usize) {
        let mut log = self.log();
        (std::mem::take(&mut log.unavailable), std::mem::take(&mut log.broken))
    }

    /// The longest that a 503 took, which must be told in time; in the short form, but for what may have been
    /// under way when the machine stood still once.
    pub fn longest(&self) -> Duration {
        let mut told = self.log().told.clone();
        told.sort_unstable();
        let late = scale(1, 0) as usize * CLIENTS;
        let in_time = told[..told.len().saturating_sub(late)].last().copied().unwrap_or_default();
        assert!(in_time < told_max(), "a 503 took {in_time:?}");
        told.last().copied().unwrap_or_default()
    }

    /// Lets every client have its last answer, and holds the books against the log. Says how
    /// many events there are, and what was found.
    pub async fn audit(mut self, client: &Client, database: &PgConnectOptions) -> (usize, String) {
        self.service.send(None).unwrap();
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
        let log = std::mem::take(&mut *self.log());
        log.hold_against_ledger(database).await;
        log.hold_against_answers(client).await;
        let (acknowledged, refused) = (log.acknowledged.len(), log.refused.len());
        let figures =
            format!("{acknowledged} acknowledged, {refused} refused: 0 lost, 0 twice, 0 refused and done");
        (acknowledged + SETUP, figures)
    }
}

async fn consume_on(number: usize, log: Arc<Mutex<Log>>, service: watch::Receiver<Option<String>>) {
    let mut client = Client::new("");
    for count in 0.. {
        let Some(base) = service.borrow().clone() else { return };
        client.base = base;
        let command = Sent::nth(number, count);
        let body = command.body();
        loop {
            let sent = Instant::now();
            let answer = client.post("allocation/consume", &body).await.ok();
            if log.lock().unwrap().write_down(&command, answer, sent.elapsed()) {
                break;
            }
            back_off().await;
            if let Some(base) = service.borrow().clone() {
                client.base = base;
            }
        }
    }
}

/// Where an answer says its event is.
fn place_of(answer: &str) -> (i64, i64) {
    let answer: Value = serde_json::from_str(answer).unwrap();
    (answer["eventId"].as_i64().unwrap(), answer["version"].as_i64().unwrap())
}

impl Log {
    /// What was acknowledged is in the ledger, where the answer says and once, and is all that is.
    async fn hold_against_ledger(&self, database: &PgConnectOptions) {
        let mut connection = PgConnection::connect_with(database).await.unwrap();
        let statement = "SELECT event_id, version, product_id, id FROM ledger ORDER BY event_id OFFSET $1";
        let rows = sqlx::query(statement).bind(SETUP as i64).fetch_all(&mut connection).await.unwrap();
        let mut stored = BTreeMap::new();
        for row in &rows {
            let (id, product): (String, String) = (row.get("id"), row.get("product_id"));
            let place = (product, row.get::<i64, _>("event_id"), row.get::<i64, _>("version"));
            assert!(stored.insert(id.clone(), place).is_none(), "{id} is in the ledger twice");
            assert!(!self.refused.contains(&id), "{id} was refused, and done");
        }
        for (id, (product, text)) in &self.acknowledged {
            let (event_id, version) = place_of(text);
            let told = ((*product).to_owned(), event_id, version);
            assert_eq!(stored.get(id), Some(&told), "{id} was acknowledged: {text}");
        }
        assert_eq!(stored.len(), self.acknowledged.len(), "more was done than acknowledged");
        connection.close().await.unwrap();
    }

    /// Answers are given again, in the same words; versions have no gap, and balances are what
    /// they add up to.
    async fn hold_against_answers(&self, client: &Client) {
        let mut repeats = JoinSet::new();
        for (id, (product, text)) in self.acknowledged.iter().take(REPEATS_MAX) {
            let (client, body, text) = (client.clone(), consume(id, product, 1), text.clone());
            if repeats.len() == CLIENTS {
                repeats.join_next().await.unwrap().unwrap();
            }
            repeats.spawn(async move {
                let again = client.settle("allocation/consume", &body).await;
                assert_eq!((&again.text, again.header("idempotent-replayed")), (&text, Some("true")));
            });
        }
        while let Some(repeat) = repeats.join_next().await {
            repeat.unwrap();
        }
        for product in PRODUCTS {
            let of_product = self.acknowledged.values().filter(|(of, _)| *of == product);
            let versions: BTreeSet<i64> = of_product.map(|(_, text)| place_of(text).1).collect();
            let count = versions.len() as u64;
            // The first two are the stock and its allocation.
            let ends = (versions.first().copied(), versions.last().copied());
            assert_eq!(ends, (Some(3), Some(count as i64 + 2)), "{product}");
            assert_eq!(client.balance(product).await, (u64::from(STOCK) - count, count), "{product}");
        }
    }
}

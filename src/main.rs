//! The command line.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use ringfence::app::{App, Books, StartError};
use ringfence::settings::{Action, Cli, Database, KeyAction, Migrate, Misread, Serve};
use ringfence::store::Sight;
use ringfence::{check, http, keys, telemetry, verify};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A request makes some dozens of small allocations, on one thread, and frees them on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command line is wrong.
const EXIT_USAGE: u8 = 2;
/// `verify` found a difference.
const EXIT_DRIFT: u8 = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error).await,
    };
    let result = match cli.action {
        Action::Serve(settings) => serve(*settings).await,
        Action::Migrate(settings) => migrate(&settings).await,
        Action::Verify(database) => verify(&database).await,
        Action::Key(action) => key(&action).await,
        Action::Openapi => openapi(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            tell(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// For what does not serve: it logs little, and has no flag for it.
fn start_logging() {
    telemetry::start(&std::env::var("RINGFENCE_LOG").unwrap_or_default(), false);
}

fn tell(problems: &str) {
    for line in problems.lines() {
        eprintln!("ringfence: {line}");
    }
}

/// Says what is wrong with the command line; of `serve` all of it, with whatever else stands against it.
async fn refuse(error: &clap::Error) -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let misread = match arguments.as_slice() {
        [_, action, rest @ ..] if action == "serve" && error.use_stderr() => Misread::of(rest),
        _ => None,
    };
    let Some(Misread { problems, rest }) = misread else { error.exit() };
    tell(&problems.join("\n"));
    if let Err(found) = check::check(&rest).await {
        tell(&found.to_string());
    }
    tell("see `ringfence serve --help`");
    ExitCode::from(EXIT_USAGE)
}

async fn serve(settings: Serve) -> Result<ExitCode, StartError> {
    telemetry::start(&settings.log, settings.log_json);
    if settings.check {
        let said = check::check(&settings).await?;
        io::stdout().write_all(said.as_bytes()).map_err(StartError::Output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut stop = stop_signal();
    let app = tokio::select! {
        app = App::build(settings) => app?,
        // Nothing was taken in yet that would have to be finished.
        Ok(_) = stop.wait_for(|stop| *stop) => return Ok(ExitCode::SUCCESS),
    };
    // Whoever does not read it any more does not stop the service.
    app.run(|url| _ = writeln!(io::stdout(), "listening on {url}"), stop).await?;
    Ok(ExitCode::SUCCESS)
}

/// Becomes true with the first signal to stop; the second one ends the process at once.
fn stop_signal() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    // At once: one that comes before it is listened to ends the process.
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        tracing::error!("signals cannot be listened to");
        return receiver;
    };
    tokio::spawn(async move {
        for attempt in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if attempt == 0 {
                let _ = sender.send(true);
            }
        }
        std::process::exit(1);
    });
    receiver
}

async fn migrate(settings: &Migrate) -> Result<ExitCode, StartError> {
    start_logging();
    let books = Books::open(&settings.database).await?;
    let migrated = match (books.migrate().await, settings.service_role.as_deref()) {
        (Ok(()), Some(role)) => books.grant(role, settings.allow_erasing).await,
        (migrated, _) => migrated,
    };
    books.close().await;
    migrated?;
    writeln!(io::stdout(), "the schema is up to date").map_err(StartError::Output)?;
    Ok(ExitCode::SUCCESS)
}

async fn verify(database: &Database) -> Result<ExitCode, StartError> {
    start_logging();
    let books = Books::open(database).await?;
    let report = match books.connect_migrated(Sight::All).await {
        Ok(mut connection) => verify::verify(&mut connection).await.map_err(StartError::from),
        Err(error) => Err(error),
    };
    books.close().await;
    let report = report?;
    say(&report).map_err(StartError::Output)?;
    Ok(if report.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DRIFT) })
}

async fn key(action: &KeyAction) -> Result<ExitCode, StartError> {
    start_logging();
    let said = keys::run(action).await?;
    io::stdout().write_all(said.as_bytes()).map_err(StartError::Output)?;
    Ok(ExitCode::SUCCESS)
}

fn say(report: &verify::Report) -> io::Result<()> {
    let verify::Report { environments, events, differences } = report;
    let mut output = io::stdout();
    for difference in differences {
        writeln!(output, "{difference}")?;
    }
    writeln!(
        output,
        "{events} events in {environments} environments replayed, {} differences",
        differences.len()
    )
}

fn openapi() -> Result<ExitCode, StartError> {
    // The document is made of strings, so it always becomes YAML.
    let document = http::openapi_yaml().unwrap_or_default();
    io::stdout().write_all(document.as_bytes()).map_err(StartError::Output)?;
    Ok(ExitCode::SUCCESS)
}

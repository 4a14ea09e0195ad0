//! Settings of `serve` that cannot be read: all of them at once, with whatever else stands against it.

use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::CommandFactory;
use ringfence::settings::Cli;

use super::process::{Ended, command, ringfence, run, run_ringfence};

/// Asserts that there is one line for each, and no other but the one that says where to look.
fn assert_told(ended: &Ended, expected: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
    for expected in expected.iter().chain(&["see `ringfence serve --help`"]) {
        let line = format!("ringfence: {expected}");
        let told = ended.stderr.lines().filter(|told| told.starts_with(&line)).count();
        assert_eq!(told, 1, "{expected}: {}", ended.stderr);
    }
    assert_eq!(ended.stderr.lines().count(), expected.len() + 1, "{}", ended.stderr);
}

#[tokio::test]
async fn flags_and_variables_are_told_with_whatever_else_stands_against_a_start_and_no_secret() {
    let wrong = [
        "--shards=0",
        "--readers-max",
        "-5",
        "--listen",
        "localhost",
        "--tls-cert",
        "/nowhere",
        "--heartbeat-time-ms",
        "--webhook-retry-ms=5",
        "--webhook-retry-ms=6",
        "--databse-url=postgres://me:secret@127.0.0.1:1/books",
        "postgres://me:secret@127.0.0.1:1/books",
        "-q",
    ];
    for action in [&["serve"][..], &["serve", "--check"]] {
        let mut serve = ringfence(&[action, &wrong].concat());
        serve.env("RINGFENCE_AUTH", "perhaps").env("RINGFENCE_TRACE_RATIO", "1.5");
        serve.env("RINGFENCE_STREAMS_MAX", "x".repeat(300)).env("RINGFENCE_LOG", "info=of=course");
        serve.env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318");
        serve.env("DATABASE_URL", "mysql://me:secret@127.0.0.1/books");
        let ended = run(serve).await;
        let place = format!("what stands in place {} behind serve belongs to no flag", action.len() + 11);
        let cut = format!(
            r#"RINGFENCE_STREAMS_MAX="{}"… (--streams-max) must be a whole number from 1 to 100000"#,
            "x".repeat(100)
        );
        assert_told(
            &ended,
            &[
                r#"--shards="0" (RINGFENCE_SHARDS) must be a whole number from 1 to 64"#,
                r#"--readers-max="-5" (RINGFENCE_READERS_MAX) must be a whole number from 1 to 1000"#,
                r#"--listen="localhost" (RINGFENCE_LISTEN) must be an IP address with a port, such as 127.0.0.1:8080"#,
                "--heartbeat-time-ms (RINGFENCE_HEARTBEAT_TIME_MS) needs a value",
                r#"--webhook-retry-ms="6" (RINGFENCE_WEBHOOK_RETRY_MS) is given more than once"#,
                r#"RINGFENCE_AUTH="perhaps" (--auth) must be true or false"#,
                r#"RINGFENCE_TRACE_RATIO="1.5" (--trace-ratio) must be a number from 0 to 1"#,
                &cut,
                "--databse-url is no flag; is --database-url meant?",
                "-q is no flag",
                &place,
                "--tls-cert needs the certificate's key: give --tls-key",
                r#"RINGFENCE_LOG="info=of=course" (--log) must be a filter"#,
                r#"--otlp-endpoint="collector:4318" (RINGFENCE_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT) must be a URL"#,
                "the database URL is not readable: it does not begin with postgres://",
            ],
        );
        assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
    }
    let mut serve = ringfence(&["serve", "--listen", "127.0.0.1:0"]);
    serve.env(
        "RINGFENCE_DATABASE_URL",
        std::ffi::OsStr::from_bytes(b"postgres://me:secret\xff@127.0.0.1/books"),
    );
    let ended = run(serve).await;
    assert_told(&ended, &["RINGFENCE_DATABASE_URL (--database-url) must be text in UTF-8"]);
    assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
}

#[tokio::test]
async fn what_does_not_go_together_is_told_with_the_rest_and_nothing_that_only_follows_from_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = ["serve", "--listen", &address, "--database-url", "postgres://127.0.0.1:1/books"];
    let wrong = ["--data-dir", "x", "--oidc-issuer", "a", "--trace-ratio", "all"];
    assert_told(
        &run_ringfence(&[&serve[..], &wrong].concat()).await,
        &[
            r#"--trace-ratio="all" (RINGFENCE_TRACE_RATIO) must be a number from 0 to 1"#,
            "the argument '--database-url <URL>' cannot be used with '--data-dir <DIR>'",
            "the following required arguments were not provided: --auth --oidc-audience <TEXT> --oidc-jwks-url <URL>",
            &format!("cannot listen on {address}"),
            "cannot open the database books at 127.0.0.1:1",
        ],
    );
    // Neither that tokens need --auth, nor that others could reach it.
    let wrong = ["--oidc-issuer=a", "--oidc-audience=b", "--oidc-jwks-url=http://127.0.0.1:1/"];
    let mut serve = ringfence(&[&["serve", "--listen", "0.0.0.0:0"][..], &wrong].concat());
    serve.env("RINGFENCE_AUTH", "");
    assert_told(
        &run(serve).await,
        &[
            r#"RINGFENCE_AUTH="" (--auth) must be true or false"#,
            "the OpenID provider's keys cannot be read at http://127.0.0.1:1/",
        ],
    );
}

/// A new setting says what it must be, too.
#[tokio::test]
async fn every_setting_that_is_no_text_says_what_it_must_be_as_flag_and_as_variable() {
    let program = Cli::command();
    let serve = program.find_subcommand("serve").unwrap();
    let is_text = |argument: &clap::Arg| {
        let names = argument.get_value_names().unwrap_or_default();
        names.iter().any(|name| ["URL", "DIR", "FILE", "TEXT"].contains(&name.as_str()))
    };
    let settings: Vec<_> = serve.get_arguments().filter(|argument| !is_text(argument)).collect();
    assert!(settings.len() > 25, "{}", settings.len());
    let (mut by_flag, mut by_variable) = (vec!["serve".to_owned()], ringfence(&["serve"]));
    let (mut of_flags, mut of_variables) = (Vec::new(), Vec::new());
    for setting in settings {
        let (flag, variable) = (setting.get_long().unwrap(), setting.get_env().unwrap().to_str().unwrap());
        by_variable.env(variable, "wrong");
        of_variables.push(format!(r#"{variable}="wrong" (--{flag}) must be "#));
        if setting.get_action().takes_values() {
            by_flag.push(format!("--{flag}=wrong"));
            of_flags.push(format!(r#"--{flag}="wrong" ({variable}) must be "#));
        }
    }
    let by_flag: Vec<&str> = by_flag.iter().map(String::as_str).collect();
    for (command, expected) in [(ringfence(&by_flag), of_flags), (by_variable, of_variables)] {
        let ended = run(command).await;
        assert_told(&ended, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_could_not_be_read_is_not_held_against_its_default() {
    // Where everybody would listen; whoever has it already does as well.
    let _taken = TcpListener::bind("127.0.0.1:8080");
    let script = r#"ulimit -n 300; exec "$0" "$@""#;
    let wrong = ["serve", "--listen=here", "--connections-max=many", "listen"];
    let arguments = [&["-c", script, env!("CARGO_BIN_EXE_ringfence")][..], &wrong].concat();
    assert_told(
        &run(command(Path::new("/bin/sh"), &arguments)).await,
        &[
            r#"--listen="here" (RINGFENCE_LISTEN) must be an IP address"#,
            r#"--connections-max="many" (RINGFENCE_CONNECTIONS_MAX) must be a whole number"#,
            "what stands in place 3 behind serve belongs to no flag",
        ],
    );
}

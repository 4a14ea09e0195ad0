//! Logs, what is measured, and traces.

pub mod metrics;
pub mod request;
pub mod traces;

use std::fmt;
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, JsonFields, Writer, format};
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::registry::LookupSpan;

/// What is logged where nothing else is asked for.
pub const USUAL_FILTER: &str = "info";

/// Reads what is to be logged, written as for `RUST_LOG`.
///
/// # Errors
/// When it cannot be read.
pub fn filter(given: &str) -> Result<EnvFilter, String> {
    let text = if given.is_empty() { USUAL_FILTER } else { given };
    EnvFilter::try_new(text)
        .map_err(|why| format!("must be a filter, such as warn or info,ringfence=debug: {why}"))
}

/// Starts logging what the filter lets through to standard error; one that cannot be read was told of
/// where it was given. Standard output is left to what scripts read.
pub fn start(given: &str, json: bool) {
    let filter = filter(given).unwrap_or_else(|_| EnvFilter::new(USUAL_FILTER));
    let is_ansi = io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(is_ansi);
    let format = format().with_timer(SystemTime);
    // A second subscriber of the same process (a test's) changes nothing.
    let _ = match json {
        true => lines
            .fmt_fields(JsonFields::new())
            .event_format(InTrace { format: format.json(), is_json: true })
            .try_init(),
        false => lines.event_format(InTrace { format, is_json: false }).try_init(),
    };
    std::panic::set_hook(Box::new(log_panic));
}

/// Logs a panic, once, in the format of all lines. Only a text that is written in the program is told: what
/// was put together may quote what a client sent.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let text = panic.payload().downcast_ref::<&str>().copied().unwrap_or("see there");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    match request::current_request() {
        request if request.is_empty() => tracing::error!(panic = text, place, "a task panicked"),
        request => tracing::error!(request, panic = text, place, "a handler panicked"),
    }
}

/// Adds the trace of the current request to a line, where it is in one: behind everything else. A
/// span would carry it too, but would have to be made for each request.
struct InTrace<F> {
    format: F,
    is_json: bool,
}

impl<S, N, F> FormatEvent<S, N> for InTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(trace) = request::current_trace() else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        match (line.trim_end(), self.is_json) {
            (line, false) => writeln!(writer, "{line} trace_id={}", trace.id),
            (line, true) => {
                let open = line.strip_suffix('}').unwrap_or(line);
                writeln!(writer, "{open},\"trace_id\":\"{}\"}}", trace.id)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use axum::http::HeaderValue;

    use super::request::{InRequest, within};
    use super::*;

    const INSIDE: &str = "RINGFENCE_TEST_OF_PANICS";

    /// In a process of its own, because the hook is the process's.
    #[test]
    fn a_panic_is_one_line_of_the_log_with_its_place_and_request_and_nothing_that_was_put_together() {
        if std::env::var_os(INSIDE).is_some() {
            return panic_in_three_ways();
        }
        let name = std::thread::current().name().unwrap().to_owned();
        let mut inside = Command::new(std::env::current_exe().unwrap());
        inside.args(["--exact", &name, "--nocapture"]).env(INSIDE, "1");
        let ended = inside.env("RUST_BACKTRACE", "1").output().unwrap();
        let log = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success(), "{log}");
        let lines: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{log}"))).collect();
        assert_eq!(lines.len(), 3, "{log}");
        let expected = [
            ("a task panicked", None, "on purpose"),
            ("a task panicked", None, "see there"),
            ("a handler panicked", Some("the request"), "on purpose"),
        ];
        for (line, (message, request, text)) in lines.iter().zip(expected) {
            let fields = &line["fields"];
            assert_eq!((&line["level"], &fields["message"]), (&"ERROR".into(), &message.into()), "{line}");
            assert_eq!((fields["request"].as_str(), &fields["panic"]), (request, &text.into()), "{line}");
            assert!(fields["place"].as_str().unwrap().starts_with("src/telemetry.rs:"), "{line}");
        }
    }

    fn panic_in_three_ways() {
        start(USUAL_FILTER, true);
        let secret = "a customer's name";
        assert!(std::panic::catch_unwind(|| panic!("on purpose")).is_err());
        assert!(std::panic::catch_unwind(|| panic!("no {secret}")).is_err());
        let request = InRequest {
            id: HeaderValue::from_static("the request"),
            method: "",
            route: "",
            metrics: std::sync::Arc::default(),
            trace: None,
            is_told: false.into(),
            rates: None.into(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let handling = std::panic::AssertUnwindSafe(|| {
            runtime.block_on(within(request, async { panic!("on purpose") }))
        });
        assert!(std::panic::catch_unwind(handling).is_err());
    }
}

//! The limits that the flags give, and those that are not to be set.

use std::time::Duration;

use crate::domain::rate::{PerSecond, Rate};
use crate::{deliver, engine, follow, http, oidc};

use super::Serve;

/// Longest body of a request, in bytes (a limit of the wire contract).
const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest body of a bulk, in bytes (a limit of the wire contract).
const BULK_BODY_BYTES_MAX: usize = 8 << 20;
/// Longest body that needs no room among all bodies, in bytes: those of commands. With as many
/// connections as there may be, they take as much again as all others.
const SMALL_BODY_BYTES_MAX: usize = 16 << 10;
/// What the larger bodies of all open requests may have, in bytes.
const ALL_BODIES_BYTES_MAX: usize = 64 << 20;
/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// Most lines of a bulk. A writer remembers as many events at least, and as many as a batch
/// has: what it looked up for one must all be there when it decides it.
const BULK_LINES_MAX: usize = http::LINES_MAX;
/// Levels of JSON that the deepest of the requests' forms has. Each form is read as such, to its own last
/// level.
const JSON_LEVELS_MAX: usize = 6;
/// How often the TLS files are looked at.
pub const TLS_POLL: Duration = Duration::from_secs(2);
/// How long the service is not ready after the database would not have a batch, unless it had
/// one since: without requests it could not notice that it will again.
const TROUBLE_TIME_MAX: Duration = Duration::from_secs(5);

/// Longest wait of a delivery for its next attempt.
const WEBHOOK_RETRY_MAX: Duration = Duration::from_secs(3_600);
/// How long who delivers to webhooks waits before it looks for what is due again.
const WEBHOOK_POLL: Duration = Duration::from_millis(200);

/// What is taken of an OpenID provider: the guide for operators tells of the last two.
const TOKEN_LIMITS: oidc::Limits = oidc::Limits {
    set_bytes_max: 64 << 10,
    set_keys_max: 32,
    fetch_time_max: Duration::from_secs(5),
    fetch_again: Duration::from_secs(10),
    set_time: Duration::from_secs(300),
    set_time_max: Duration::from_secs(3_600),
};

/// How long who follows the ledger and has everything waits before it looks again.
const FOLLOW_POLL: Duration = Duration::from_millis(200);
/// How long it is left alone where there are no events.
const FOLLOW_TICK: Duration = Duration::from_secs(1);
/// Longest that it may take for one chunk, of as many event ids at most.
const FOLLOW_CHUNK_TIME_MAX: Duration = Duration::from_secs(30);
/// Most event ids of a chunk: more than come between two looks, and little memory.
const FOLLOW_CHUNK_IDS_MAX: i64 = 10_000;
/// Longest wait of who follows after a failure.
const FOLLOW_BACKOFF_MAX: Duration = Duration::from_secs(2);

impl Serve {
    /// Longest that one exchange with the database may take.
    pub fn round_trip_max(&self) -> Duration {
        Duration::from_millis(self.round_trip_max_ms)
    }

    /// The limits of the engine.
    pub fn engine_limits(&self) -> engine::Limits {
        engine::Limits {
            shards: self.shards.map_or_else(shards_of_this_machine, usize::from),
            queue_commands_max: self.queue_commands_max.unwrap_or(self.batch_commands_max) as usize,
            batch_commands_max: self.batch_commands_max as usize,
            books_entries_max: self.books_entries_max as usize,
            recent_events_max: (self.recent_events_max.max(self.batch_commands_max) as usize)
                .max(BULK_LINES_MAX),
            round_trip_max: self.round_trip_max(),
            batch_time_max: self.round_trip_max() / 2,
            trouble_time_max: TROUBLE_TIME_MAX,
        }
    }

    /// The limits of what is taken of an OpenID provider.
    pub fn token_limits(&self) -> oidc::Limits {
        TOKEN_LIMITS
    }

    /// The limits of who follows the ledger.
    pub fn follow_limits(&self) -> follow::Limits {
        follow::Limits {
            connect_max: self.round_trip_max(),
            poll: FOLLOW_POLL,
            tick: FOLLOW_TICK,
            chunk_time_max: FOLLOW_CHUNK_TIME_MAX,
            chunk_ids_max: FOLLOW_CHUNK_IDS_MAX,
            backoff_max: FOLLOW_BACKOFF_MAX,
        }
    }

    /// The limits of delivering to webhooks.
    pub fn deliver_limits(&self) -> deliver::Limits {
        deliver::Limits {
            allow_private: self.allow_private_webhooks,
            attempt_time_max: Duration::from_millis(self.webhook_time_max_ms),
            retry_first: Duration::from_millis(self.webhook_retry_ms),
            retry_max: WEBHOOK_RETRY_MAX,
            attempts_max: self.webhook_attempts_max,
            poll: WEBHOOK_POLL,
        }
    }

    /// The limits of requests.
    pub fn http_limits(&self) -> http::Limits {
        http::Limits {
            auth: self.auth,
            key_rates: per_second(self.key_requests_per_second, self.key_commands_per_second),
            environment_rates: per_second(
                self.environment_requests_per_second,
                self.environment_commands_per_second,
            ),
            allow_erasing: self.allow_erasing,
            allow_private_webhooks: self.allow_private_webhooks,
            body_bytes_max: BODY_BYTES_MAX,
            bulk_body_bytes_max: BULK_BODY_BYTES_MAX,
            small_body_bytes_max: SMALL_BODY_BYTES_MAX,
            all_bodies_bytes_max: ALL_BODIES_BYTES_MAX,
            body_time_max: Duration::from_millis(self.body_time_max_ms),
            streams_max: self.streams_max as usize,
            heartbeat_time: Duration::from_millis(self.heartbeat_time_ms),
        }
    }

    /// The limits of connections.
    pub fn server_limits(&self) -> http::server::Limits {
        http::server::Limits {
            connections_max: self.connections_max as usize,
            head_time_max: Duration::from_millis(self.head_time_max_ms),
            request_time_max: Duration::from_millis(self.request_time_max_ms),
            write_time_max: Duration::from_millis(self.write_time_max_ms),
            head_bytes_max: HEAD_BYTES_MAX,
            headers_max: HEADERS_MAX,
            drain_time_max: Duration::from_millis(self.drain_time_max_ms),
        }
    }
}

/// What is not to be set, for who reads the help.
pub(super) fn fixed_limits() -> String {
    format!(
        "Signals:\n  \
         TERM or INT: takes nothing more in, answers what is under way, and ends with 0; a second one ends it at once\n  \
         HUP: reads the TLS files again; without TLS there is nothing to be read again, and it ends the process\n\n\
         Fixed limits:\n  \
         a request's head: {} KiB and {} headers; more is answered 431\n  \
         its body: {} MiB, {} MiB of a bulk; more is answered 413. All larger bodies at once: {} MiB\n  \
         lines of a bulk: {}; records of a page: {}, of analytics {}; more is answered 400\n  \
         levels of JSON: as many as the request's form has, {} at most; deeper is answered 400 or, in\n  \
         what is not known of Inventory Visibility's configuration, passed over",
        HEAD_BYTES_MAX >> 10,
        HEADERS_MAX,
        BODY_BYTES_MAX >> 20,
        BULK_BODY_BYTES_MAX >> 20,
        ALL_BODIES_BYTES_MAX >> 20,
        BULK_LINES_MAX,
        http::PAGE_RECORDS_MAX,
        http::ANALYTICS_RECORDS_MAX,
        JSON_LEVELS_MAX,
    )
}

pub(super) fn per_second(requests: Option<u32>, commands: Option<u32>) -> PerSecond {
    PerSecond { requests: requests.and_then(Rate::new), commands: commands.and_then(Rate::new) }
}

/// A writer keeps a core of the database busy, and batches are the larger the fewer writers
/// there are: where the database shares the cores, half of them is most.
fn shards_of_this_machine() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 64))
}

//! Ringfence: an inventory allocation service. Stock is set aside for groups of customers;
//! nobody gets what is set aside for another, and no group takes more than its share.
//!
//! # Where to start
//!
//! `domain/decide.rs` has the rules, on one page. Then follow a command on its way:
//! `http/form.rs` reads the body, `domain/command.rs` makes it a [`domain::command::Command`]
//! (one that exists is well formed), `http/commands.rs` submits it, `engine/writer.rs` collects
//! what queued, `engine/batch.rs` decides it in order, `store/commit.rs` writes all of it in one
//! statement, and only then is it answered.
//!
//! # The code map
//!
//! - `main.rs`: the command line, the signals to stop and the exit codes; nothing else
//! - `app.rs`: puts database, engine and HTTP together, and takes them apart in order
//! - `settings.rs`: the flags; `settings/limits.rs` every limit with its unit; `settings/values.rs` how
//!   values are read; `settings/misread.rs` everything that is wrong with them, at once
//! - `telemetry.rs`: the logs; `telemetry/metrics.rs` what is measured, and its names;
//!   `telemetry/request.rs` the request that is being answered; `telemetry/traces.rs` traces and their spans
//! - `otlp.rs`: sends spans to a collector
//! - `demo.rs`: the environment `demo`, made of ordinary commands with fixed ids
//! - `verify.rs`: replays the ledger through the core and compares; `verify/snapshots.rs` snapshots too,
//!   `verify/followed.rs` what else is made of the ledger
//! - `check.rs`: what stands against serving, all at once
//! - `keys.rs`: keys from the command line
//! - `oidc.rs`: tokens of an OpenID provider, believed or not
//! - `embedded/`: the private PostgreSQL, for who has none; knows nothing of stock
//! - `http/`: translates; decides nothing
//!     - `server.rs` connections, `tls.rs` their TLS; `around.rs` what holds for every request; `mod.rs` the routes;
//!       `path.rs` letter case in paths
//!     - `body.rs` takes a body in; `form.rs` reads it, every fault with its place; `schema.rs` the
//!       same for the document
//!     - `reading.rs` reads anything and does nothing, for who throws hostile input at the readers
//!     - `console.rs` serves the console, a page whose files are in `console/`; `app.js` there says what
//!       each is for
//!     - `commands.rs` reads what every command has; `running.rs` judges and runs them, one or many;
//!       `rehearsing.rs` only asks what they would do
//!     - `allocation.rs`, `balances.rs`, `onhand.rs`, `schedule.rs`, `configuration.rs`, `health.rs`: the
//!       handlers; `proposals.rs` proposes reallocations; `hardupdate.rs` takes Inventory Visibility's
//!       configuration; `products.rs` which products are enabled; `partitions.rs` housekeeping;
//!       `listing.rs` lists that are read page by page
//!     - `reserve.rs` reserve and unreserve; `reservations.rs` lists what is reserved
//!     - `onhand_query.rs` reads on-hand queries, `onhand_records.rs` answers them, `stream.rs` carries
//!       answers that are written while they are read; `promises.rs` is what their records say of the
//!       days to come
//!     - `access.rs` who is asking, and whether they may; `rules.rs` the one table of who may what;
//!       `keyring.rs` the keys in memory; `keys.rs` makes, lists and revokes them; `caller.rs` tells who is asking
//!     - `rates.rs` how many requests and commands a second are let in
//!     - `analytics.rs` answers what was done with what is set aside: `analytics_question.rs` reads what
//!       is asked for, `analytics_records.rs` writes it
//!     - `unmet.rs` notes what is refused for lack of stock
//!     - `events.rs` the history, `event_record.rs` an event as it is shown; `events_stream.rs` the live
//!       streams, `feed.rs` the tail of the ledger that they share
//!     - `watches.rs`, `alerts.rs`, `webhooks.rs`, `deliveries.rs` what is watched for, what was found,
//!       and whom it is told
//!     - `as_of.rs` a point in the past, for the queries
//!     - `metrics.rs` answers what is measured; `probes.rs` what it and readiness ask the database, once for
//!       all who come; `routes.rs` which route a path is counted for
//!     - `environments.rs` keeps configurations; `kept.rs` keeps anything by its name
//!     - `problem.rs` is the one table of refusals and codes, `problem/body.rs` what their bodies tell;
//!       `document.rs` is what the API's document says of all operations alike
//! - `follow/`: what is kept of events beside the books
//!     - `mod.rs` who takes them, and how far they are; `snapshots.rs` takes snapshots; `activity.rs`
//!       what was done with what is set aside; `unmet.rs` hands on the demand that was not met
//!     - `watches.rs` which balances and nodes watches are to judge, `judging.rs` judges them
//!     - `overallocated.rs` counts over-allocated nodes
//! - `deliver/`: sends notices of alerts to webhooks
//!     - `mod.rs` takes what is due and records what came of it; `send.rs` one message, to no address
//!       that is private; `waiting.rs` how long it waits for the next attempt, `span.rs` its span in a
//!       trace; `forgetting.rs` forgets what is old
//! - `engine/`: one queue and one writer per shard of products
//!     - `mod.rs` the queues; `writer.rs` collect, decide, commit, answer; `writer/deciding.rs` how it decides
//!       and commits, at first and in its turn; `writer/confirming.rs` what it asks the ledger before it
//!       refuses, and after a commit whose answer was lost
//!     - `batch.rs` decides a batch, with no IO; `books.rs` what a writer holds in memory
//!     - `rehearsal.rs` what commands would do, without a writer
//!     - `intake.rs` what waits for it; `loading.rs` reads what the books lack; `answers.rs` answers what
//!       was committed; `link.rs` its connection, every exchange bounded; `pulse.rs` how it gets on
//! - `store/`: the only SQL, checked when it is built
//!     - `commit.rs` writes a batch; `ledger.rs`, `state.rs`, `whole.rs`, `query.rs` read, and
//!       `onhand.rs` as a stream; `schedule.rs` reads and writes what is scheduled
//!     - `reservations.rs` finds and lists reservations; `situation.rs` is what proposals are made of
//!     - `history.rs` reads the ledger for the history; `horizon.rs` up to where the ledger is settled,
//!       for who reads it on
//!     - `replay.rs` replays the ledger, for verification and for questions about the past: `past.rs` a
//!       product at a point of it; `audit.rs` what is kept beside the books, against it; `past_onhand.rs` on-hand answers of then; `snapshots.rs` where replays
//!       begin
//!     - `follow.rs` how far those are who follow the ledger; `activity.rs` what was done with what is
//!       set aside, read by `analytics.rs`; `unmet.rs` the demand that was not met
//!     - `configuration.rs` reads and replaces configurations; `text.rs` PostgreSQL's literals;
//!       `migrate.rs` brings the schema up to date; `now.rs` reads a product as it stands
//!     - `keys.rs` makes, finds and revokes keys
//!     - `watches.rs` keeps watches, `subjects.rs` finds what they judge, `alerts.rs` writes what they
//!       found; `webhooks.rs` keeps webhooks, `outbox.rs` what is on its way to them; `forgetting.rs` forgets
//!       what is old of these
//!     - `sessions.rs` what goes on in the database beside the service; `overview.rs` what is measured of
//!       what is stored
//!     - `sight.rs` for which environments a connection works, `readers.rs` the connections for queries,
//!       `places.rs` places of which no environment takes all; `grants.rs` what a role needs that only serves
//!     - `switches.rs` which products are enabled, and since when; `erasing.rs` erases products
//! - `domain/`: the pure core; cannot fail, only refuse
//!     - `quantity.rs`, `name.rs`, `dimensions.rs`, `groups.rs`, `formula.rs`: the words
//!     - `document.rs` what an environment is configured by; `configuration.rs` what that means and what
//!       may follow it, made by `configuration/builder.rs`; `inventory_visibility.rs` the document of
//!       Inventory Visibility, and what it means here
//!     - `command.rs` what was asked, read by `command/operation.rs`; `state.rs` what is kept; `refusal.rs` why not,
//!       `explanation.rs` why
//!     - `query.rs` what an on-hand query asks for; `records.rs` what is answered of it; `held.rs` what
//!       a list of reservations asks for
//!     - `access.rs` roles, and what they are narrowed to; `key.rs` the text of a key
//!     - `rate.rs` how much may be done in a second
//!     - `schedule.rs` what is to happen on a day to come; `promise.rs` what can be promised of it
//!     - `proposal.rs` which reallocations would level the projected exhaustion
//!     - `activity.rs` what was done with what is set aside, by the minute; `analytics.rs` what is said of
//!       it; `unmet.rs` counts demand that was not met
//!     - `history.rs` which events are asked for, and what an event did
//!     - `watch.rs` what is watched for, and when it is told; `webhook.rs` where to, and how it is signed
//!     - `replay.rs` an event once more; `snapshot.rs` a product as text, for a replay to go on from
//!     - `decide.rs` what a command does; `stories.rs` tests that a planner could read
//!
//! Beside `src`: `migrations/` is the schema, with its constraints; `.sqlx/` what the database said of
//! each query; `tests/it/` one binary that tests the service over real HTTP and a real PostgreSQL, in
//! `tests/it/trust/` the promises, held against what clients wrote down; beside it what takes longer
//! or needs tools of others, such as `tests/fuzz/`, `tests/failover/`, `tests/upgrade/`, `tests/nginx/`,
//! `tests/contract/`, `tests/clients/` and `tests/console/` (`tests/README.md`);
//! `benches/flash_sale/` one hot product against a twin, `benches/growth/` what size costs,
//! `benches/micro/` single operations; `benches/README.md` has their figures.
//!
//! # The dependency rule
//!
//! Arrows point one way only, and may skip a step:
//!
//! ```text
//! main → app → http → engine → store → domain → nothing of ours
//! ```
//!
//! `http` skips to `store` for queries, which need no writer. `engine/batch.rs` does no IO, but it
//! fills in the store's `Batch` as it goes: a copy of that type in the engine would only be another
//! name for the same columns. `verify` stands on `store` and `domain`; `settings` makes the limits
//! of `http`, `engine`, `follow` and `deliver`; `follow` and `deliver` stand on `store` and `domain`,
//! and are started by `app`; `demo` stands on `engine`, and fails with `app`'s error. The core has no
//! IO, no clock and no randomness: what time it is comes with the command. `tests/it/tidy.rs` fails
//! when an arrow turns.
//!
//! # The invariants, and who guards them
//!
//! Each has the code that keeps it; the database, where it can express it, does not trust that
//! code; and `verify` replays the whole ledger and compares everything.
//!
//! 1. *A balance adds up: allocated = cumulative allocated − cumulative consumed ≥ 0, and
//!    0 ≤ consumed ≤ cumulative consumed.* `decide` refuses before; CHECKs on `balance`.
//! 2. *A node's `@allocated` and its like are the sums of the balances at and below it.* A command's
//!    movements and its balances are made in one place, `domain/decide.rs`.
//! 3. *A node's total is its own quantity and the totals of its children.* Only
//!    `Stock::apply_movements` moves quantities, and it walks the chain.
//! 4. *A reservation keeps 0 ≤ remaining ≤ quantity, and giving back takes no measure below zero.*
//!    `decide` frees at most what remains, and what the measure still holds; a CHECK on the first.
//! 5. *No grant takes what is available on its chain below zero.* `decide` takes the least over the
//!    chain; every node of the chain is written, guarded by the version that was decided on.
//! 6. *The ledger replayed gives the stored state.* Ledger and state are written by one statement,
//!    and a replay runs the same `decide` and `apply`.
//! 7. *An acknowledged event is in the ledger once, a refused one never.* The unique index
//!    `ledger_id`; a reply is sent after the commit.
//!
//! 8. *The ledger is only added to.* The role that serves may do nothing else with it (`store/grants.rs`);
//!    and whoever asks, the trigger `ledger_guard` lets only events go that an erasure declares gone.
//! 9. *Nobody gets another environment's rows.* Every statement names its environment; row-level security
//!    passes no others to a connection, whatever the statement (`store/sight.rs`).
//!
//! `Stock::check_invariants` checks 1 to 4 over a product that is held whole, after every command
//! of the stories and of the property tests in `tests/it/core.rs`. And beyond these:
//!
//! - *Commands that could affect one another are decided in the order of their versions.* They
//!   share the shallowest node of the chain, and every event at or below a node raises its version.
//! - *A command is decided under the current configuration.* A batch locks its environment's row in
//!   the version it was decided under; a change of the configuration locks the same row first.
//! - *Everything is bounded*: queues, batches, memory, bodies, connections, every wait. `settings`.
//!
//! # What was decided, and why
//!
//! **One writer per shard, and no lease.** A hot product is thousands of commands a second on one
//! row; a transaction each would spend its time on conflicts. A writer commits whatever queued during
//! its last commit. Several instances over one database need no agreement: the guards find out.
//!
//! **A writer has a thread of its own, and answers late on purpose.** What it waits for is one answer of
//! the database; among hundreds of requests on the same threads it would hear of it late. And what was
//! committed is answered while the database works on the next batch, because the database is what all
//! others wait for. See `engine/writer.rs`.
//!
//! **The batch goes as JSON rows, and what events share goes once.** PostgreSQL makes a table of a JSON
//! array for a fraction of what an array a column costs it, and the events of a flash sale differ in
//! id, version and outcome only. See `store/commit.rs`; `benches/README.md` says what it gave.
//!
//! **What every request pays is written around the routes, not layered.** A layer of the router costs a
//! box and a clone a request; a trace span costs more than reading the body's numbers. Log lines carry
//! the request's id all the same. See `http/around.rs`.
//!
//! **A queue holds what one commit takes, and nobody is let in behind a batch that hangs.** Whoever is
//! let in waits for the commit in the works and for their own, however many come; the rest are sent
//! back before anything is done for them. So overload costs those who are served little, and memory
//! nothing. A bulk's lines wait for room instead, in half of the queue, or they would leave none. When
//! the database does not answer in time, all who wait are told at once: the next would wait as long.
//! See `engine/pulse.rs`.
//!
//! **The lines of a bulk come to a writer together**: one place in the queue, and batches that are full
//! from the first on. 5,000 lines over 5,000 products are five batches for one writer or six for two, and
//! nobody else finds the queue full because of them.
//!
//! **A batch is one statement, and aborts itself.** Nodes are updated `WHERE version = expected`. A
//! guard that fails changes fewer rows, which by itself is no error. So the statement counts them, and
//! where the count is wrong gives its ledger rows the version NULL, which the column refuses: all is
//! undone with no second round trip. Balances and reservations need no guard of their own, because
//! whoever writes one writes the nodes of its chain too. See `store/commit.rs`.
//!
//! **First without a lock, then with.** The first try decides on the copy in memory, in one
//! SERIALIZABLE statement. After a conflict the writer locks the chains' shallowest nodes, reads, decides
//! and writes in one READ COMMITTED transaction, so that it cannot lose again and again: a
//! SERIALIZABLE one would be aborted by the very wait for the lock. The guards are the same in both,
//! and it is they that make it correct; the isolation level is the second line. Where another instance
//! sells the same product, the next batches wait for their turn at once, and whoever came while they
//! waited for the lock joins them. See `engine/writer.rs`.
//!
//! **A refusal is confirmed before it is answered.** The copy in memory may be out of date. A grant
//! that rests on it fails at its guard; a refusal writes nothing that could fail. So before it is
//! answered, the ledger is asked for its id, and the versions it rests on are read again.
//!
//! **Nobody asks first whether an event is a repeat.** A writer remembers the latest events. An older
//! repeat runs into `ledger_id` or into a refusal, and only then is looked up: new events, nearly all,
//! pay nothing. What was remembered is guarded by the version of the configuration, as the rest of the
//! batch is: an event may have been erased.
//!
//! **What every writer must notice is a new version of the configuration.** To enable products and to
//! erase them changes nothing in the document, but makes a new version of it all the same: every batch
//! is guarded by that already, at no cost, and whoever meets a new one forgets what it held in memory.
//! So a node that begins again at version 1 is never taken for the erased one of the same version. See
//! `store/erasing.rs`, `store/switches.rs` and `engine/books.rs`.
//!
//! **A key is revoked by a new version of the configuration, too.** A command is let in by a key that is
//! held in memory with the version that it was read at; it is read again when the environment has a
//! newer one. So the commit's own guard finds out about a key that was revoked on another instance,
//! and who may costs a command the digest of a header and a look at a map. Whatever commits nothing
//! reads its key in the request. What a narrowed key may is held against the request's own words
//! before it is judged, whatever the configuration makes of them: a path that has the key's groups with
//! their values is the key's path or below it. See `http/access.rs`, `http/rules.rs`.
//!
//! **Each instance counts rates for itself**, in one number per bucket that is exchanged without a lock:
//! N instances let in N times as much, and whoever runs them divides. To count together would cost every
//! request a question to others, for a limit that is to keep one client from taking everybody's place and
//! need not be exact. A key may have rates of its own, which came with it when it was read. A bucket holds one second's worth, so that no burst outlasts it. Who is nobody
//! is counted nowhere, and whoever is somebody is counted before their body is read. See `http/rates.rs`.
//!
//! **What is wrong with a command line is found by reading it again.** The parser ends at its first error, and
//! to parse by ourselves would be a second truth of what there is. So where it refuses, each value is read alone by
//! the parser's own rule, and what remains is parsed and checked as a start is. See `settings/misread.rs`.
//!
//! **A reservation's id is made from its event's name**, so that a repeat and a replay make the same,
//! and the core needs no randomness.
//!
//! **What is given back without naming a reservation is no one reservation's.** Which one it was cannot
//! be known, and a guess would be wrong for a client that names another. So it lowers the measure and
//! leaves every remaining quantity alone; an unreserve then frees no more than the measure still holds
//! there, and tells the rest. However the two ways are mixed, no more is given back than was reserved.
//!
//! **An unreserve names no product**, but everything is routed by product. HTTP looks it up, all lines
//! of a bulk at once: a reservation keeps its product for ever, so that needs no guard. One that is not
//! found is judged by a writer all the same, which may know its event as one that happened.
//!
//! **Measures are kept in slots.** A node has two arrays of quantities, its own and the totals. A measure
//! gets a place in them once per environment, for ever: a new measure rewrites nothing, and a node is
//! one row however many measures there are. The ledger names measures in full.
//!
//! **An on-hand query is one statement, and its answer a stream.** It reads each product's nodes in the
//! order of the primary key, no deeper than it must: a node's total stands for all that is below. Rows
//! become records as they come, so neither the memory nor the wait for the first record grows with the
//! answer, unless the records are not in the hierarchy's order: then PostgreSQL sorts, one product at a
//! time. One statement is one moment. It may take longer than one exchange, so it has connections of its
//! own with a time of their own, and a client that reads slowly holds up nobody else. An answer that
//! cannot be written to its end is cut off, and cannot be taken for a whole one. See
//! `http/onhand_records.rs`.
//!
//! **What is made of the ledger beside the books follows it.** Commands write nothing of it and wait for
//! none of it. A follower takes the events up to the settled horizon, a chunk in one transaction with
//! the mark of how far it is, so that each is counted once, by whichever instance has the mark's row.
//! Activity is kept as running totals by the minute: any range is one row less another, however long
//! it is. See `follow/mod.rs` and `domain/activity.rs`.
//!
//! **A dry run is judged by the writer's own code, and by no writer.** It reads what the command needs in
//! one read-only transaction, and decides by the same function: what it answers is what a writer would
//! have answered at that moment. So it waits for no queue and is answered under overload too, writes nothing and
//! remembers nothing. A bulk is one as a whole or not at all, because a line sees what those before it
//! did. See `engine/rehearsal.rs`.
//!
//! **An explanation is part of the outcome.** The core makes it of what the decision saw, only where it is
//! asked for, and it is kept with the event, in names: so a repeat answers the same bytes, and a replay
//! makes the same again. See `domain/explanation.rs`.
//!
//! **A proposal's id is of the state that it was made in**, and of who gives and who gets; not of the
//! quantity. Two who ask in the same state cannot both do the same. See `domain/proposal.rs`.
//!
//! **A schedule is no stock.** What is expected to happen is in the ledger like all events, and counts
//! at its nodes, but moves nothing, so that nobody can allocate or sell it. Which days it may be for is
//! decided when the command is made, by the clock of who takes it; nothing later asks what day it is but
//! by the time in the ledger. What a batch schedules has statements of its own, in one transaction
//! behind the batch's, whose guards hold for both: batches without a schedule pay nothing. See
//! `domain/promise.rs`.
//!
//! **The console is a client like any other.** It is plain files in the program: no framework, nothing
//! to be built, nothing from elsewhere. It knows the API only, reads every number as the text that it
//! is, and makes nothing but text of what it is told. The feed only tells it that something happened;
//! what is, it reads anew, a few times a second at most. So a page costs the same however fast its
//! product sells, and cannot drift from the books. See `http/console/app.js`.
//! **Watches judge what is there, not what an event said.** An event only tells where to look; what is
//! judged is the balance or the node as it is then, so that a new watch, a new formula, time itself and
//! an erased product need no other way than a page of subjects to be judged. What came and went between
//! two looks is not told; whatever is still the case always is. One instance at a time writes alerts,
//! so their numbers are in the order of the commits: who reads them on needs no horizon.
//!
//! **A notice is delivered by whoever holds its lane.** A lane is one product at one webhook, taken for a
//! time and not by a lock: a receiver that does not answer must keep no transaction open. A lane is there
//! as long as something is pending in it, and is looked for by when it is due, so that looking costs as
//! much as there is to do, however long the outbox. Of one webhook and of one environment so many are
//! taken and no more, and those come first that have the fewest: slow receivers of one tenant cost others
//! nothing. `deliver/` connects by itself, without a client that
//! resolves names or follows redirects: the address that was looked at is the one connected to.
//!
//! **What is told of alerts is forgotten by whoever finds it old**, in pages that pass by what others have
//! locked. A notice is kept as long as one of its deliveries is, an alert goes with the notice of its
//! closing. What waits for a webhook is bounded by time and not by number: it is dead then, and seen to be,
//! and no row is counted for it. See `store/forgetting.rs`.
//! **The history ends at a horizon.** Event ids come from a sequence, and transactions commit in an
//! order of their own: whoever has read up to 7 would never see 6, if that was late. So nobody is
//! shown an event before all that have a lower id are there or never will be. Who could still have
//! one is asked of the locks that PostgreSQL keeps anyway; writers do nothing for it. The sequence is one for
//! all environments, so each is told of its own last event up to there, which what others write does not move:
//! for that, and for a history that looks at nobody else's events, each event is in an index of its
//! environment. See `store/horizon.rs`.
//!
//! **What an event did is not stored.** The command and its answer tell it, but for what sets and the
//! freeing of reservations moved: those keep it in their outcome. See `domain/history.rs`.
//!
//! **A page of history is a stretch of one index**, of a product's events, a reference's or all, and
//! looks at so many and no more: a filter that fits little makes pages short, never slow. In the order of
//! the ledger it also ends after so many event ids, because the database passes by other environments'
//! events before any limit counts them. Times are found by halving the ledger, whosoever events are met,
//! so they need no index that every event would pay for. See `store/history.rs`.
//!
//! **The live feed is the ledger read on, once per process.** It needs nobody to tell it, so it is the
//! same over any number of instances, and as safe as the ledger. Whoever listens has a bounded number
//! of events to be behind; further than that they are cut off, and read the ledger from where they
//! were; so are all where who reads for them panics, and the next one begins anew. See `http/feed.rs`.
//! **What was is replayed, not kept.** A question about the past is answered by the ledger itself: the
//! events of a product up to the point are decided once more, each under the configuration and the
//! switches of its time, by the same core, as `verify` does it. Snapshots only make that short: one of
//! the whole product whenever it had as many events as it has entries, 500 at least. So an event pays
//! for one entry at most, old points are as fast as new ones and none is thinned out, and who lost all
//! snapshots answers the same, later. A point is always an event: every time is the last event received
//! up to it, in the order of the ledger, whatever clocks say, because only a beginning of the ledger can
//! be replayed. Names and formulas are those of today: a configuration keeps what stored data uses, so
//! they fit all quantities of then, and one answer can be held against another. See `http/as_of.rs`,
//! `store/past.rs` and `store/snapshots.rs`.
//!
//! **A product is led to an instance by a header of its own.** It is in the body of most calls, and a proxy
//! that reads bodies has to hold them, to parse them as the service does and to be trusted with them. So
//! clients say it once more, in `ringfence-product`. The service does not read it: a wrong one costs speed, and
//! no promise rests on it. See `docs/nginx.conf`.
//! **A span is made when it is over.** None follows a request about; who is in no trace pays for finding
//! that out. A batch's span is a child of the first of its traced requests, and has links to the others,
//! as the conventions have it for batches: so there is one trace from a request to its commit, and from
//! every other request the commit is one link away. See `telemetry/traces.rs`.
//!
//! **A request says why it failed, and nobody else does.** A writer hands on why, so that the log has one
//! line for each request with its id; what a client or a receiver sent is in no line. A panic is logged
//! by the hook, without what was put together for it. See `telemetry.rs` and `http/around.rs`.
//! **What a connection sees goes with the connection.** Policies pass the rows of the environments in the
//! connection's setting, so that a statement that forgets its environment finds no other's. The setting is
//! of the session, not of a transaction, which would be two more round trips for every query: a writer
//! adds an environment when it meets a new one, a reader is told when its last was another. So that none
//! is ever used with what somebody else saw, a kept connection has no way to be asked anything until it
//! is told for whom, and what it was told is a part of the same value; the pool is our own for that, as
//! others keep the bare connection. When an exchange is cut off while it is told, the connection is
//! dropped. See `store/sight.rs`, `store/readers.rs`.
//!
//! **What is looked up by a path is looked up in a view.** PostgreSQL compares arrays by a function that
//! it does not trust not to tell of rows, so under a policy it uses no index for it: one place of a
//! product would cost as much as all its places. The views `seen_…` have the policy's rule and no such
//! order. Only a statement that is made to leak could tell the difference, and who can send any could as
//! well change the setting: both are the second line behind the service's own rules, for its mistakes.
//!
//! **The policies are not forced on the owner.** It migrates, backs up and restores, the views read with
//! its rights, and programs of before run as it. The service runs as another role, in every test too;
//! one role for both, as on the private server, goes without the second line. For the same reason the
//! guard of the ledger is a trigger of rows that asks whether an erasure declares them gone, and not
//! a right: it holds for the owner too, and lets an older program erase. What a role needs to be allowed
//! for erasing is to declare it. To delete what is declared gone is left to `delete_erased`, which may
//! always be run: an id that such an event has must be free, whoever serves. See `docs/database.md`.
//!
//! **A consume must be neutral to the pool**, and a formula that protects nothing is refused: both are
//! left to their users' care elsewhere, and both sell the same thing twice when care fails.

pub mod app;
pub mod check;
pub mod deliver;
pub mod demo;
pub mod domain;
pub mod embedded;
pub mod engine;
pub mod follow;
pub mod http;
pub mod keys;
pub mod oidc;
pub mod otlp;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod verify;

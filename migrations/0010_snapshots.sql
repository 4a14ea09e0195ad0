-- How a product stood right after one of its events. Nothing rests on these but speed: whoever
-- asks how things stood replays the ledger from the nearest one on, or from the beginning.
CREATE TABLE snapshot (
    environment_id text COLLATE "C" NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    event_id bigint NOT NULL,
    -- All that a replay needs; see domain/snapshot.rs.
    stock json NOT NULL,
    PRIMARY KEY (environment_id, organization_id, product_id, event_id)
);

-- Verification reads them in the order of the ledger.
CREATE INDEX snapshot_event ON snapshot (environment_id, event_id);

-- When a product is to have its next snapshot: written by who takes them, and by nobody else.
CREATE TABLE snapshot_due (
    environment_id text COLLATE "C" NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    -- Since the last one.
    events bigint NOT NULL,
    due_at bigint NOT NULL,
    PRIMARY KEY (environment_id, organization_id, product_id)
) WITH (fillfactor = 50);

-- The ledger in pieces, each with the earliest time that an event of it was received at: to find
-- the last event up to a time without an index that every command would have to write.
CREATE TABLE ledger_piece (
    first_event_id bigint PRIMARY KEY,
    last_event_id bigint NOT NULL,
    events bigint NOT NULL,
    earliest timestamptz NOT NULL
) WITH (fillfactor = 50);

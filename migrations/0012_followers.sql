-- What follows the ledger, and how far it is: the events up to there are in what it keeps. The
-- row is locked while it takes what comes next, so that one instance does.
CREATE TABLE follower (
    name text COLLATE "C" PRIMARY KEY,
    reached_event_id bigint NOT NULL DEFAULT 0 CHECK (reached_event_id >= 0)
);

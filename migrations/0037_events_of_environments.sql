-- no-transaction
-- An environment's events in their order: its history looks at no others, and what it is told of how far
-- the ledger goes is an event of its own.
CREATE INDEX CONCURRENTLY ledger_of_environment ON ledger (environment_id, event_id);

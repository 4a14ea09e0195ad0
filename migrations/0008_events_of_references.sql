-- no-transaction
-- The events of an order. Those without a reference are not in it, and pay nothing.
CREATE INDEX CONCURRENTLY ledger_of_reference ON ledger (environment_id, reference, event_id)
    WHERE reference IS NOT NULL;

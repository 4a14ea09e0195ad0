-- Most events may be of one product, one environment or one reference, and those of any other must be found
-- among them all the same. What the server samples tells it then that a key is no narrower than a range of
-- event ids, and it walks through the others' events: five million of them to two of a product's. It is to
-- take a key for what it is.
SET LOCAL lock_timeout = '2s';
ALTER TABLE ledger
    ALTER environment_id SET (n_distinct = 100),
    ALTER product_id SET (n_distinct = 1000000),
    ALTER reference SET (n_distinct = 1000000);

DO $$
BEGIN
    IF pg_relation_size('ledger') > 0 THEN
        -- It holds from here on; this reads some thousand rows, whatever there is.
        ANALYZE ledger;
        RETURN;
    END IF;
    -- While a table is empty all its indexes are alike, and the newest is taken. A statement is planned
    -- once: what a product, a reference or a lane has is to be looked for where nothing else is.
    DROP INDEX ledger_of_product, ledger_of_reference;
    CREATE INDEX ledger_of_product ON ledger (environment_id, organization_id, product_id, event_id);
    CREATE INDEX ledger_of_reference ON ledger (environment_id, reference, event_id) WHERE reference IS NOT NULL;
    ALTER TABLE lane DROP CONSTRAINT lane_pkey,
        ADD PRIMARY KEY (environment_id, webhook, organization_id, product_id);
END
$$;

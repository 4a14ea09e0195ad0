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
    -- While a table is small all its indexes are alike, and the newest is taken. A statement is planned
    -- once: what a product or a reference has is to be looked for where nothing else is. This takes
    -- some milliseconds; a larger ledger's statistics tell.
    IF pg_relation_size('ledger') < 32 * 1024 * 1024 THEN
        DROP INDEX ledger_of_product, ledger_of_reference;
        CREATE INDEX ledger_of_product ON ledger (environment_id, organization_id, product_id, event_id);
        CREATE INDEX ledger_of_reference ON ledger (environment_id, reference, event_id) WHERE reference IS NOT NULL;
    END IF;
    IF EXISTS (SELECT FROM ledger) THEN
        -- From here on it holds. This reads 30,000 rows, however many there are.
        ANALYZE ledger;
    END IF;
END
$$;

-- The same of lanes, which only deliveries wait for.
ALTER TABLE lane DROP CONSTRAINT lane_pkey,
    ADD PRIMARY KEY (environment_id, webhook, organization_id, product_id);

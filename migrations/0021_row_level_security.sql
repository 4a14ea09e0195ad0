-- no-transaction
-- A connection sees and writes only what is of the environments that it says it works for, in its
-- setting `ringfence.environments`: an array's text, such as {demo,"two words"}, or * for all. One that
-- says nothing sees nothing. Not for the owner of the tables: it migrates, and old programs run as it.
--
-- The setting is read once a statement. It is no condition for an index, so that plans stay as they
-- were.
--
-- Each table has a short transaction of its own, and gives way: whoever waits for a lock that only one
-- can have holds up all who come after.
DO $$
DECLARE
    named text;
    seen CONSTANT text := $seen$
        (SELECT current_setting('ringfence.environments', true) = '*')
        OR environment_id = ANY ((SELECT CASE WHEN current_setting('ringfence.environments', true) LIKE '{%'
                                              THEN current_setting('ringfence.environments', true)::text[] END)::text[])
    $seen$;
BEGIN
    FOREACH named IN ARRAY ARRAY['environment', 'configuration', 'ledger', 'stock_node', 'balance', 'reservation',
        'product_switch', 'erasure', 'schedule', 'snapshot', 'snapshot_due', 'activity_place', 'unmet_demand', 'watch',
        'alert', 'notice', 'webhook', 'delivery', 'lane', 'api_key']
    LOOP
        LOOP
            BEGIN
                PERFORM set_config('lock_timeout', '100ms', true);
                EXECUTE format('DROP POLICY IF EXISTS seen ON %I', named);
                EXECUTE format('CREATE POLICY seen ON %I USING (%s)', named, seen);
                EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', named);
                EXIT;
            EXCEPTION WHEN lock_not_available OR deadlock_detected THEN NULL;
            END;
            COMMIT;
            PERFORM pg_sleep(0.1);
        END LOOP;
        COMMIT;
    END LOOP;
END $$;

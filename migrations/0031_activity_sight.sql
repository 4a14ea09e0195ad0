-- no-transaction
-- What was done is seen where its place is, whose policy (0021) holds within this one. Who follows the
-- ledger sees all, asks for no place, and pays nothing; a question about an environment pays two
-- microseconds for a row. Not EXISTS, which could be answered by a list of all places made first.
--
-- In a short transaction that gives way: whoever waits for a lock that only one can have holds up all
-- who come after.
DO $$
BEGIN
    LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '100ms', true);
            DROP POLICY IF EXISTS seen ON activity;
            CREATE POLICY seen ON activity USING (
                (SELECT current_setting('ringfence.environments', true) = '*')
                OR (SELECT true FROM activity_place p WHERE p.place_id = activity.place_id));
            ALTER TABLE activity ENABLE ROW LEVEL SECURITY;
            EXIT;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN NULL;
        END;
        COMMIT;
        PERFORM pg_sleep(0.1);
    END LOOP;
END $$;

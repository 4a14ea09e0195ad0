-- The ledger is only added to, whoever asks: what is there is not changed, and only an event that an
-- erasure declares gone is deleted. Nothing of this runs when events are added.
CREATE FUNCTION ledger_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND EXISTS (
        SELECT FROM erasure x
        WHERE x.environment_id = OLD.environment_id AND x.organization_id = OLD.organization_id
          AND x.product_id = OLD.product_id AND OLD.event_id <= x.until_event_id)
    THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the ledger is only added to: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege', HINT = 'Events go when their product is erased, by cleanupalldata.';
END $$;

-- Deletes events that an erasure declares gone, for a role that may delete nothing of the ledger.
-- Answers how many. It reads with its owner's rights, so it asks for itself what its caller may see.
CREATE FUNCTION delete_erased(environment text, event_ids bigint[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    deleted bigint;
BEGIN
    IF environment = ANY (CASE WHEN current_setting('ringfence.environments', true) LIKE '{%'
                               THEN current_setting('ringfence.environments', true)::text[] END)
    THEN
        DELETE FROM ledger l USING unnest(event_ids) AS e (event_id), erasure x
        WHERE l.event_id = e.event_id AND l.environment_id = environment
          AND x.environment_id = environment AND x.organization_id = l.organization_id
          AND x.product_id = l.product_id AND l.event_id <= x.until_event_id;
        GET DIAGNOSTICS deleted = ROW_COUNT;
        RETURN deleted;
    END IF;
    RETURN 0;
END $$;

REVOKE ALL ON FUNCTION delete_erased FROM PUBLIC;

-- With the owner's rights nothing is found but in this schema, and what is built in.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION delete_erased SET search_path = pg_catalog, %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION ledger_guard SET search_path = pg_catalog, %I, pg_temp', current_schema());
    SET LOCAL lock_timeout = '2s';
    CREATE TRIGGER ledger_guard BEFORE UPDATE OR DELETE ON ledger FOR EACH ROW EXECUTE FUNCTION ledger_guard();
    CREATE TRIGGER ledger_guard_whole BEFORE TRUNCATE ON ledger FOR EACH STATEMENT EXECUTE FUNCTION ledger_guard();
END $$;

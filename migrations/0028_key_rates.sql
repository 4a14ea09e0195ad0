-- A key may have rates of its own, instead of those that the service has for all keys. Nothing is rewritten:
-- the columns are empty for every key that is there.
SET LOCAL lock_timeout = '2s';
ALTER TABLE api_key
    ADD COLUMN requests_per_second integer CHECK (requests_per_second BETWEEN 1 AND 1000000),
    ADD COLUMN commands_per_second integer CHECK (commands_per_second BETWEEN 1 AND 1000000);

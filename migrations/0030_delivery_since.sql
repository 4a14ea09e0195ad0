-- Since when a delivery has been in its state, which is what it is forgotten by. Those of before count
-- from now on. Whoever waits for a lock that only one can have holds up all who come after.
SET LOCAL lock_timeout = '2s';
ALTER TABLE delivery ADD COLUMN since timestamptz NOT NULL DEFAULT now();

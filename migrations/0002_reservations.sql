-- no-transaction
-- Unreserve names a reservation and not its product. Made while the table is in use.
CREATE INDEX CONCURRENTLY reservation_by_id ON reservation (environment_id, reservation_id);

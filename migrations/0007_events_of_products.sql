-- no-transaction
-- A product's events in their order, for its history. A statement that makes an index beside the
-- work must stand alone.
CREATE INDEX CONCURRENTLY ledger_of_product ON ledger (environment_id, organization_id, product_id, event_id);

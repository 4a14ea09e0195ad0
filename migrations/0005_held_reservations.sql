-- no-transaction
-- What is held, in the order in which it is listed: of the reservations that there ever were,
-- few still hold anything. A statement that makes an index beside the work must stand alone.
CREATE INDEX CONCURRENTLY reservation_held
    ON reservation (environment_id, organization_id, product_id, dimensions, reservation_id)
    WHERE remaining > 0;

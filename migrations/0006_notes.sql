-- What clients note about their commands: what it belongs to, why, and who asked. No part of what
-- a command means. NULL for all events of before, and where nothing was noted.
ALTER TABLE ledger ADD COLUMN reference text COLLATE "C", ADD COLUMN reason text, ADD COLUMN actor text COLLATE "C";

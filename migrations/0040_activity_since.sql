-- The first minute in which anything was done: who asks for a day need not look for what was before it
-- where there is nothing. Unknown of what is there already, and never made up for it. Whoever waits for a
-- lock that only one can have holds up all who come after.
SET LOCAL lock_timeout = '2s';
ALTER TABLE activity_place ADD COLUMN first_minute timestamptz;

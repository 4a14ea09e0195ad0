-- The view of activity's places (0022) has their first minute (0040) too: a question goes through the places in
-- the order of their index, from one to the next, which is a comparison of arrays. Readers of the view hold
-- its lock as long as a question takes; whoever waits for a lock that only one can have holds up all who come after.
SET LOCAL lock_timeout = '2s';
CREATE OR REPLACE VIEW seen_activity_place AS SELECT * FROM activity_place
    WHERE (SELECT current_setting('ringfence.environments', true) = '*')
       OR environment_id = ANY ((SELECT CASE WHEN current_setting('ringfence.environments', true) LIKE '{%'
                                             THEN current_setting('ringfence.environments', true)::text[] END)::text[]);

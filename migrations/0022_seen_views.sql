-- What is looked up by a path: the rows of these tables that a connection may see, by the same rule as
-- that of their policies (0021). PostgreSQL does not use an index for the comparison of arrays before a
-- policy has passed a row, because any such comparison could tell something of the row; of a product
-- with a hundred thousand places, all would be read to find one. A view that is no barrier has no such
-- order. The owner's rights are those it reads with, so that the policies do not come on top.
CREATE VIEW seen_stock_node AS SELECT * FROM stock_node
    WHERE (SELECT current_setting('ringfence.environments', true) = '*')
       OR environment_id = ANY ((SELECT CASE WHEN current_setting('ringfence.environments', true) LIKE '{%'
                                             THEN current_setting('ringfence.environments', true)::text[] END)::text[]);
CREATE VIEW seen_balance AS SELECT * FROM balance
    WHERE (SELECT current_setting('ringfence.environments', true) = '*')
       OR environment_id = ANY ((SELECT CASE WHEN current_setting('ringfence.environments', true) LIKE '{%'
                                             THEN current_setting('ringfence.environments', true)::text[] END)::text[]);
CREATE VIEW seen_reservation AS SELECT * FROM reservation
    WHERE (SELECT current_setting('ringfence.environments', true) = '*')
       OR environment_id = ANY ((SELECT CASE WHEN current_setting('ringfence.environments', true) LIKE '{%'
                                             THEN current_setting('ringfence.environments', true)::text[] END)::text[]);
CREATE VIEW seen_schedule AS SELECT * FROM schedule
    WHERE (SELECT current_setting('ringfence.environments', true) = '*')
       OR environment_id = ANY ((SELECT CASE WHEN current_setting('ringfence.environments', true) LIKE '{%'
                                             THEN current_setting('ringfence.environments', true)::text[] END)::text[]);
CREATE VIEW seen_activity_place AS SELECT * FROM activity_place
    WHERE (SELECT current_setting('ringfence.environments', true) = '*')
       OR environment_id = ANY ((SELECT CASE WHEN current_setting('ringfence.environments', true) LIKE '{%'
                                             THEN current_setting('ringfence.environments', true)::text[] END)::text[]);
CREATE VIEW seen_alert AS SELECT * FROM alert
    WHERE (SELECT current_setting('ringfence.environments', true) = '*')
       OR environment_id = ANY ((SELECT CASE WHEN current_setting('ringfence.environments', true) LIKE '{%'
                                             THEN current_setting('ringfence.environments', true)::text[] END)::text[]);

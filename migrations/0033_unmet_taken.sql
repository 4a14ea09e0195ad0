-- Where demand was not met that the follower "activity" just kept: it marks the group paths, and whoever
-- judges watches takes the marks and looks there at once. A path has one mark, however long nobody does.
CREATE TABLE unmet_taken (
    environment_id text COLLATE "C" NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    dimensions text[] COLLATE "C" NOT NULL,
    groups text[] COLLATE "C" NOT NULL,
    PRIMARY KEY (environment_id, organization_id, product_id, dimensions, groups)
);

-- As all tables have it (0021).
CREATE POLICY seen ON unmet_taken USING (
    (SELECT current_setting('ringfence.environments', true) = '*')
    OR environment_id = ANY ((SELECT CASE WHEN current_setting('ringfence.environments', true) LIKE '{%'
                                          THEN current_setting('ringfence.environments', true)::text[] END)::text[])
);
ALTER TABLE unmet_taken ENABLE ROW LEVEL SECURITY;

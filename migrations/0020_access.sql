-- Who may use an environment through the API. A key's text is kept by nobody but its owner: the table
-- has its digest, which is enough for 256 random bits. Rows are never deleted: a key that is revoked
-- stays known as one. The environment need not exist yet: the first key creates it.
CREATE TABLE api_key (
    -- The part of the text that is no secret.
    prefix text COLLATE "C" PRIMARY KEY,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    environment_id text COLLATE "C" NOT NULL,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('reader', 'consumer', 'planner', 'stock', 'admin')),
    -- The organizations that it is for; all of them where there are none.
    organizations text[] NOT NULL,
    -- The group path that it is for: names and values, as many of the ones as of the others.
    group_names text[] NOT NULL,
    group_values text[] NOT NULL CHECK (cardinality(group_values) = cardinality(group_names)),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);

CREATE INDEX api_key_environment ON api_key (environment_id, prefix);

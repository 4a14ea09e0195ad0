-- Where notices are sent to.
CREATE TABLE webhook (
    environment_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    url text NOT NULL,
    -- Of which watches; NULL for all.
    watches text[] COLLATE "C",
    enabled boolean NOT NULL,
    -- Why the service itself disabled it.
    disabled_because text,
    -- What messages are signed with: kept as it is, because it must be used as it is.
    secret text NOT NULL,
    -- The one before, which signs too for a while.
    old_secret text,
    old_secret_until timestamptz,
    PRIMARY KEY (environment_id, name)
);

-- The outbox: each notice once for each webhook that it is for, written with the notice.
CREATE TABLE delivery (
    environment_id text COLLATE "C" NOT NULL,
    webhook text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    attempted_at timestamptz,
    -- The HTTP status of the last attempt, and what was wrong with it.
    status integer,
    error text,
    PRIMARY KEY (environment_id, webhook, sequence)
);

CREATE INDEX delivery_pending ON delivery (environment_id, webhook, organization_id, product_id, sequence)
    WHERE state = 'pending';
CREATE INDEX delivery_of_product ON delivery (environment_id, organization_id, product_id);
CREATE INDEX delivery_listed ON delivery (environment_id, webhook, state, sequence);

-- The deliveries of one product to one webhook go one after the other. There is a row as long as
-- some are pending: when the next attempt is due, or, while one of the instances has it, when
-- another may take it over.
CREATE TABLE lane (
    environment_id text COLLATE "C" NOT NULL,
    webhook text COLLATE "C" NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    due_at timestamptz NOT NULL,
    PRIMARY KEY (environment_id, webhook, organization_id, product_id)
) WITH (fillfactor = 50);

CREATE INDEX lane_due ON lane (environment_id, webhook, due_at);

-- What is to be told of stock.
CREATE TABLE watch (
    environment_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    -- As its client wrote it: what it means goes by the current configuration.
    document json NOT NULL,
    PRIMARY KEY (environment_id, name)
);

-- What was found, of one subject of one watch. Written by one at a time, whoever follows the ledger
-- for the watches; so the sequence below is in the order of the commits.
CREATE TABLE alert (
    alert_id uuid PRIMARY KEY,
    environment_id text COLLATE "C" NOT NULL,
    watch text COLLATE "C" NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    dimensions text[] COLLATE "C" NOT NULL,
    -- Empty where it is about the stock node itself.
    groups text[] COLLATE "C" NOT NULL,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    -- The notice that told of its last change.
    sequence bigint NOT NULL,
    value numeric,
    threshold numeric NOT NULL,
    detail text NOT NULL
);

-- A subject has one open alert of a watch at most.
CREATE UNIQUE INDEX alert_open
    ON alert (environment_id, organization_id, product_id, dimensions, groups, watch) WHERE closed_at IS NULL;
-- For whoever erases a product.
CREATE INDEX alert_of_product ON alert (environment_id, organization_id, product_id);
CREATE INDEX alert_listed ON alert (environment_id, sequence);
CREATE INDEX alert_listed_open ON alert (environment_id, sequence) WHERE closed_at IS NULL;

CREATE SEQUENCE notice_sequence;

-- Every opening and closing of an alert, word for word as it is sent.
CREATE TABLE notice (
    sequence bigint PRIMARY KEY,
    environment_id text COLLATE "C" NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    dimensions text[] COLLATE "C" NOT NULL,
    groups text[] COLLATE "C" NOT NULL,
    watch text COLLATE "C" NOT NULL,
    -- The stable name of the message, whoever gets it and however often.
    message_id text NOT NULL,
    happened_at timestamptz NOT NULL,
    payload text NOT NULL
);

CREATE INDEX notice_of_product ON notice (environment_id, organization_id, product_id);
CREATE INDEX notice_listed ON notice (environment_id, sequence);
CREATE INDEX notice_happened ON notice (environment_id, happened_at, sequence);

-- How watches are judged. One row.
CREATE TABLE watching (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- Counts the changes of watches, so that who judges by them knows which it has.
    changes bigint NOT NULL DEFAULT 0,
    -- The state of watches and configurations for which all that there is was judged.
    swept bigint NOT NULL DEFAULT 0,
    -- Counts the pages of that work: who does not know the last one begins again.
    pages bigint NOT NULL DEFAULT 0
);
INSERT INTO watching DEFAULT VALUES;

-- The books. (environment, organization, product) leads every key of state, so that the
-- tables can be spread over a distributed engine; a command touches one product only.
-- Paths and group paths are text[] in hierarchy order. Quantities are exact numerics.

CREATE TABLE environment (
    environment_id text COLLATE "C" PRIMARY KEY,
    -- The current configuration; every command is guarded by it.
    version bigint NOT NULL CHECK (version > 0)
);

-- Every configuration that there ever was: a replay of the ledger needs them.
CREATE TABLE configuration (
    environment_id text COLLATE "C" NOT NULL REFERENCES environment,
    version bigint NOT NULL,
    document json NOT NULL,
    -- Every measure that the environment has ever had, in the order of the arrays below.
    measures text[] NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (environment_id, version)
);

-- The truth: what the other tables hold is what these rows add up to.
CREATE TABLE ledger (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    environment_id text COLLATE "C" NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    -- The client's name for the event.
    id text COLLATE "C" NOT NULL,
    operation text COLLATE "C" NOT NULL,
    dimensions text[] COLLATE "C" NOT NULL,
    groups text[],
    source_groups text[],
    quantity numeric,
    -- What only some operations have: measures, times, a reservation.
    detail json,
    configuration_version bigint NOT NULL,
    -- The count of events at and below the shallowest node of the chain, this one included.
    -- An event whose guards did not hold is given none, and so refused by this column.
    version bigint NOT NULL CONSTRAINT ledger_version_positive CHECK (version > 0),
    received_at timestamptz NOT NULL,
    -- What was answered, to be answered again.
    outcome json NOT NULL
);

-- The only random index of the ledger: a client's id names one event, for ever.
CREATE UNIQUE INDEX ledger_id ON ledger (environment_id, id);

-- The fill factors leave room for the updates of hot rows to stay in their page.
CREATE TABLE stock_node (
    environment_id text COLLATE "C" NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    dimensions text[] COLLATE "C" NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    -- By measure, in the order of configuration.measures; those behind the last are 0.
    -- The first four are allocated, consumed, cumulative allocated and cumulative consumed.
    own numeric[] NOT NULL CHECK (0 <= ALL (own[1:4])),
    total numeric[] NOT NULL CHECK (0 <= ALL (total[1:4])),
    -- By measure: when it was last set, in microseconds since 1970; NULL when never.
    set_at bigint[],
    PRIMARY KEY (environment_id, organization_id, product_id, dimensions)
) WITH (fillfactor = 50);

CREATE TABLE balance (
    environment_id text COLLATE "C" NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    dimensions text[] COLLATE "C" NOT NULL,
    groups text[] COLLATE "C" NOT NULL,
    allocated numeric NOT NULL CHECK (allocated >= 0),
    consumed numeric NOT NULL CHECK (consumed BETWEEN 0 AND cumulative_consumed),
    cumulative_allocated numeric NOT NULL,
    cumulative_consumed numeric NOT NULL,
    PRIMARY KEY (environment_id, organization_id, product_id, dimensions, groups),
    CHECK (allocated = cumulative_allocated - cumulative_consumed)
) WITH (fillfactor = 50);

CREATE TABLE reservation (
    environment_id text COLLATE "C" NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    reservation_id uuid NOT NULL,
    dimensions text[] COLLATE "C" NOT NULL,
    measure text COLLATE "C" NOT NULL,
    quantity numeric NOT NULL,
    remaining numeric NOT NULL CHECK (remaining BETWEEN 0 AND quantity),
    PRIMARY KEY (environment_id, organization_id, product_id, reservation_id)
);

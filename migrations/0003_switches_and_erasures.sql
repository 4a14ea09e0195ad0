-- Which products are enabled for allocation, and since which version of the configuration: to
-- switch products makes a new version, so that no command is decided without it, and a replay
-- of the ledger finds what held for each event. Rows are never changed.
CREATE TABLE product_switch (
    environment_id text COLLATE "C" NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    configuration_version bigint NOT NULL,
    enabled boolean NOT NULL,
    PRIMARY KEY (environment_id, organization_id, product_id, configuration_version)
);

-- Products that were erased, as long as the ledger still has events of them. Those up to
-- until_event_id count as gone; they are deleted in pieces, in the order of their ids.
CREATE TABLE erasure (
    environment_id text COLLATE "C" NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    until_event_id bigint NOT NULL,
    -- The id up to which the environment's events have been gone through; '' for none.
    reached text COLLATE "C" NOT NULL,
    PRIMARY KEY (environment_id, organization_id, product_id)
);

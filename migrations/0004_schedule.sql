-- What is scheduled to happen to stock on a day to come. Written in the transaction of the
-- events that change it, at nodes that the same transaction guards.
CREATE TABLE schedule (
    environment_id text COLLATE "C" NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    dimensions text[] COLLATE "C" NOT NULL,
    -- UTC. Days that have passed are gone when the node's schedule is next written.
    day date NOT NULL,
    -- The measure's place in configuration.measures and in stock_node.own, counted from 1.
    place integer NOT NULL CHECK (place > 0),
    -- By how much it is to change; what adds up to nothing has no row.
    quantity numeric NOT NULL CHECK (quantity <> 0),
    PRIMARY KEY (environment_id, organization_id, product_id, dimensions, day, place)
);

-- compatible-from: 1
CREATE SCHEMA identity;

-- Rows appear when a worker id is first used, and stay: each remembers how far its ids may reach.
CREATE TABLE identity.worker_lease (
    worker_id     smallint    PRIMARY KEY CHECK (worker_id BETWEEN 0 AND 1023),
    holder        text        NOT NULL,
    -- Grows with every new holder; a renewal that names an older one finds nothing.
    fence         bigint      NOT NULL,
    expires_at    timestamptz NOT NULL,
    -- No id of this worker carries a later timestamp; the next holder starts above it.
    high_water_ms bigint      NOT NULL
);

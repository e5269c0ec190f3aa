-- compatible-from: 1
-- Rules, tiers and endpoint limits. Counts and buckets are in Valkey; this is what they are counted against.
CREATE SCHEMA IF NOT EXISTS limiter;

CREATE TABLE limiter.rule (
    tenant_id bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    body jsonb NOT NULL,
    -- Earlier forms, newest first, each with the millisecond until which a key may have state under it.
    previous jsonb NOT NULL DEFAULT '[]',
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

-- The guard of our own API: what a tier may do, and limits for parts of the API.
CREATE TABLE limiter.tier (
    name text COLLATE "C" PRIMARY KEY,
    rules jsonb NOT NULL,
    updated_at_ms bigint NOT NULL
);
CREATE TABLE limiter.endpoint (
    method text COLLATE "C" NOT NULL,
    path text COLLATE "C" NOT NULL,
    rule jsonb NOT NULL,
    updated_at_ms bigint NOT NULL,
    PRIMARY KEY (method, path)
);

-- envoyproxy/ratelimit's YAML, by domain.
CREATE TABLE limiter.envoy_domain (
    tenant_id bigint NOT NULL,
    domain text COLLATE "C" NOT NULL,
    source text NOT NULL,
    updated_at_ms bigint NOT NULL,
    PRIMARY KEY (tenant_id, domain)
);

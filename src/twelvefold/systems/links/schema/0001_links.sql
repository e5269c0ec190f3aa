-- compatible-from: 1
-- Links, their history, pastes and counts. The truth about every code; caches hold copies with a version.
CREATE SCHEMA IF NOT EXISTS links;

-- Versions grow over all links, so that a code that is dropped and made again never repeats one:
-- a cache that compares versions can not be fooled by an old answer.
CREATE SEQUENCE links.version AS bigint;

-- One row: the next counter to lease, by code space. Blocks are leased, so a crash skips codes and never repeats them.
CREATE TABLE links.code_counter (
    space text PRIMARY KEY CHECK (space IN ('base62', 'base36')),
    next bigint NOT NULL DEFAULT 0
);
INSERT INTO links.code_counter (space) VALUES ('base62'), ('base36');

-- Raised in the same transaction as a change whose cache entry could not be invalidated: all keys get a new name.
CREATE TABLE links.cache_epoch (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch bigint NOT NULL DEFAULT 1
);
INSERT INTO links.cache_epoch DEFAULT VALUES;

CREATE TABLE links.domain (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL,
    host text NOT NULL UNIQUE,
    ignore_case boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE links.link (
    id bigint PRIMARY KEY,
    tenant_id bigint NOT NULL,
    domain_id integer NOT NULL,
    folded text COLLATE "C" NOT NULL,
    code text COLLATE "C" NOT NULL,
    kind "char" NOT NULL DEFAULT 'l' CHECK (kind IN ('l', 'p')),
    state "char" NOT NULL DEFAULT 'a' CHECK (state IN ('a', 'o', 'e', 'u', 'd')),
    url text NOT NULL,
    redirect smallint NOT NULL DEFAULT 302 CHECK (redirect IN (301, 302, 307, 308)),
    version bigint NOT NULL DEFAULT nextval('links.version'),
    created_at_ms bigint NOT NULL,
    updated_at_ms bigint NOT NULL,
    expires_at_ms bigint,
    ended_at_ms bigint,
    max_clicks integer CHECK (max_clicks > 0),
    used_clicks integer NOT NULL DEFAULT 0 CHECK (used_clicks >= 0),
    password_hash text,
    dedupe_key bytea,
    tags text[] NOT NULL DEFAULT '{}',
    note text NOT NULL DEFAULT '',
    title text NOT NULL DEFAULT '',
    rules jsonb,
    CONSTRAINT link_code_key UNIQUE (domain_id, folded),
    CONSTRAINT link_limit_holds CHECK (max_clicks IS NULL OR used_clicks <= max_clicks)
);
CREATE INDEX link_tenant ON links.link (tenant_id, id DESC);
CREATE UNIQUE INDEX link_dedupe ON links.link (tenant_id, domain_id, dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE INDEX link_tags ON links.link USING gin (tags) WHERE tags <> '{}';
CREATE INDEX link_expiry ON links.link (expires_at_ms) WHERE state = 'a' AND expires_at_ms IS NOT NULL;
CREATE INDEX link_ended ON links.link (ended_at_ms) WHERE ended_at_ms IS NOT NULL;

CREATE TABLE links.revision (
    link_id bigint NOT NULL REFERENCES links.link ON DELETE CASCADE,
    version bigint NOT NULL,
    url text NOT NULL,
    changed_at_ms bigint NOT NULL,
    change text NOT NULL,
    PRIMARY KEY (link_id, version)
);

CREATE TABLE links.paste (
    link_id bigint PRIMARY KEY REFERENCES links.link ON DELETE CASCADE,
    syntax text NOT NULL,
    body text NOT NULL
);

CREATE TABLE links.blocked_host (
    tenant_id bigint NOT NULL,
    host text NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, host)
);

CREATE TABLE links.report (
    id bigint PRIMARY KEY,
    tenant_id bigint NOT NULL,
    link_id bigint NOT NULL REFERENCES links.link ON DELETE CASCADE,
    reason text NOT NULL,
    reported_at_ms bigint NOT NULL
);
CREATE INDEX report_tenant ON links.report (tenant_id, id DESC);

-- Clicks by hour: what the lists and charts read. The facts behind them are in the events engine.
CREATE TABLE links.click_hour (
    link_id bigint NOT NULL,
    hour integer NOT NULL, -- hours since 1970 UTC
    clicks integer NOT NULL DEFAULT 0,
    bots integer NOT NULL DEFAULT 0,
    PRIMARY KEY (link_id, hour)
) WITH (fillfactor = 80);
CREATE INDEX click_hour_by_hour ON links.click_hour (hour);

CREATE TABLE links.click_total (
    link_id bigint PRIMARY KEY,
    tenant_id bigint NOT NULL,
    clicks bigint NOT NULL DEFAULT 0,
    bots bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 80);
CREATE INDEX click_total_top ON links.click_total (tenant_id, clicks DESC);

-- Closed days, rolled up from the facts: one row a link, day and value, and a sketch of the day's visitors.
CREATE TABLE links.click_day_facet (
    link_id bigint NOT NULL,
    day integer NOT NULL, -- days since 1970 UTC
    facet text NOT NULL,
    value text NOT NULL,
    clicks integer NOT NULL,
    PRIMARY KEY (link_id, day, facet, value)
);
CREATE TABLE links.click_day (
    link_id bigint NOT NULL,
    day integer NOT NULL,
    visitors bytea NOT NULL,
    PRIMARY KEY (link_id, day)
);
CREATE TABLE links.rolled_day (
    day integer PRIMARY KEY,
    rolled_at timestamptz NOT NULL DEFAULT now()
);

-- Batches of the click log that are counted already: a batch that is delivered twice is counted once.
CREATE TABLE links.counted_batch (
    position text PRIMARY KEY,
    counted_at timestamptz NOT NULL DEFAULT now()
);

-- Facts of counted batches on their way to the events engine: written with the counts, removed when they are there.
CREATE TABLE links.fact_outbox (
    batch_id text PRIMARY KEY,
    facts bytea NOT NULL
);
ALTER TABLE links.fact_outbox ALTER COLUMN facts SET STORAGE EXTERNAL; -- compressing what lives for milliseconds is waste

-- YOURLS clients sign with a token of their own; a timed signature can only be checked with the token at hand.
CREATE TABLE links.yourls_token (
    token text PRIMARY KEY,
    tenant_id bigint NOT NULL,
    key_id bigint NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);

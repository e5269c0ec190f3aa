-- compatible-from: 1
-- One space of streams: dense sequences of entries, in time buckets that are dropped whole.
CREATE SCHEMA IF NOT EXISTS {space};

CREATE TABLE {space}.stream (
    id bigint PRIMARY KEY,
    epoch text NOT NULL,
    last_seq bigint NOT NULL DEFAULT 0,
    counted bigint NOT NULL DEFAULT 0, -- entries so far that say they count (messages, not news about them)
    fence bigint NOT NULL DEFAULT 1,
    bucket integer NOT NULL DEFAULT 0, -- of the newest entry; never goes back, whatever the clocks do
    first_seq bigint NOT NULL DEFAULT 1, -- the oldest that retention has left
    chain bytea NOT NULL -- SHA-256 of the chain before and the digests of the last append
) WITH (fillfactor = 60);

-- Which bucket holds which part of a stream; how paging crosses empty buckets, and where the chain stood between them.
CREATE TABLE {space}.span (
    stream_id bigint NOT NULL,
    bucket integer NOT NULL,
    first_seq bigint NOT NULL,
    chain_before bytea NOT NULL,
    PRIMARY KEY (stream_id, first_seq)
);
CREATE INDEX span_bucket ON {space}.span (bucket);

CREATE TABLE {space}.entry (
    stream_id bigint NOT NULL,
    seq bigint NOT NULL,
    id bigint NOT NULL,
    counted bigint NOT NULL,
    bucket integer NOT NULL,
    kind smallint NOT NULL,
    opens boolean NOT NULL, -- the first of its append: here the chain got a new link
    amended boolean NOT NULL DEFAULT false,
    author text NOT NULL,
    key bytea NOT NULL,
    digest bytea NOT NULL, -- SHA-256 over id, kind, author and data as first written
    data bytea NOT NULL,
    PRIMARY KEY (stream_id, bucket, seq)
) PARTITION BY LIST (bucket);

-- Idempotency keys. Apart from the entries, because a key must be found without knowing its bucket.
CREATE TABLE {space}.entry_key (
    stream_id bigint NOT NULL,
    key bytea NOT NULL,
    seq bigint NOT NULL,
    id bigint NOT NULL,
    bucket integer NOT NULL,
    body bytea NOT NULL, -- what tells a repeated body from another one; emptied with the entry
    PRIMARY KEY (stream_id, key)
);
CREATE INDEX entry_key_bucket ON {space}.entry_key USING brin (bucket);

-- What readers behind the scenes (search, push) have still to see: one row an append, taken in the transaction that deals with it.
CREATE TABLE {space}.news (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    streams bigint[] NOT NULL,
    seqs bigint[] NOT NULL
);

CREATE FUNCTION {space}.make_bucket(wanted integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF to_regclass('{space}.entry_' || wanted) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('{space}.bucket'));
        EXECUTE format('CREATE TABLE IF NOT EXISTS {space}.entry_%s PARTITION OF {space}.entry FOR VALUES IN (%s)',
                       wanted, wanted);
    END IF;
END $$;

-- The whole append is one statement, so the row locks that order it are held by the server alone: a client that is
-- stopped, or dies, holds nothing. Rows are locked in the order of their ids, so appends cannot deadlock.
CREATE FUNCTION {space}.append(
    streams bigint[], ids bigint[], kinds smallint[], authors text[], keys bytea[], bodies bytea[], fences bigint[],
    digests bytea[], datas bytea[], counts boolean[], raising boolean[], now_bucket integer
) RETURNS TABLE (at integer, outcome "char", found_seq bigint, found_id bigint, found_counted bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    PERFORM 1 FROM {space}.stream s WHERE s.id = ANY (streams) ORDER BY s.id FOR NO KEY UPDATE;
    RETURN QUERY
    WITH given AS MATERIALIZED (
        SELECT g.stream_id, g.id, g.kind, g.author, g.key, g.body, g.digest, g.data, g.counts, g.raises,
               g.place::integer AS place, s.last_seq, s.counted, s.chain, s.epoch,
               greatest(s.bucket, now_bucket) AS bucket, s.bucket AS old_bucket,
               k.seq AS known_seq, k.id AS known_id,
               CASE WHEN s.id IS NULL THEN 'm'
                    WHEN k.seq IS NOT NULL THEN CASE WHEN k.body = g.body OR k.body = '' THEN 'e' ELSE 'c' END
                    WHEN g.fence >= 0 AND g.fence <> s.fence THEN 's'
                    ELSE 'n' END AS verdict
        FROM unnest(streams, ids, kinds, authors, keys, bodies, fences, digests, datas, counts, raising)
             WITH ORDINALITY AS g(stream_id, id, kind, author, key, body, fence, digest, data, counts, raises, place)
        LEFT JOIN {space}.stream s ON s.id = g.stream_id
        LEFT JOIN LATERAL (
            SELECT e.seq, e.id, e.body FROM {space}.entry_key e WHERE e.stream_id = g.stream_id AND e.key = g.key LIMIT 1
        ) k ON true
    ), judged AS MATERIALIZED (
        SELECT g.*, g.last_seq + count(*) FILTER (WHERE g.verdict = 'n') OVER w AS seq,
               g.counted + count(*) FILTER (WHERE g.verdict = 'n' AND g.counts) OVER w AS ordinal
        FROM given g WINDOW w AS (PARTITION BY g.stream_id ORDER BY g.place ROWS UNBOUNDED PRECEDING)
    ), heads AS MATERIALIZED (
        SELECT f.stream_id, min(f.seq) AS first_seq, max(f.seq) AS last_seq, max(f.ordinal) AS ordinal,
               min(f.bucket) AS bucket, min(f.old_bucket) AS old_bucket, min(f.chain) AS old_chain,
               sha256(min(f.chain) || string_agg(f.digest, '' ORDER BY f.seq)) AS chain,
               count(*) FILTER (WHERE f.raises) AS raised
        FROM judged f WHERE f.verdict = 'n' GROUP BY f.stream_id
    ), moved AS (
        UPDATE {space}.stream s SET last_seq = h.last_seq, counted = h.ordinal, bucket = h.bucket, chain = h.chain,
               fence = s.fence + h.raised
        FROM heads h WHERE s.id = h.stream_id
    ), spans AS (
        INSERT INTO {space}.span (stream_id, bucket, first_seq, chain_before)
        SELECT h.stream_id, h.bucket, h.first_seq, h.old_chain FROM heads h WHERE h.bucket > h.old_bucket
    ), written AS (
        INSERT INTO {space}.entry (stream_id, seq, id, counted, bucket, kind, opens, author, key, digest, data)
        SELECT f.stream_id, f.seq, f.id, f.ordinal, f.bucket, f.kind, f.seq = f.last_seq + 1, f.author, f.key, f.digest, f.data FROM judged f WHERE f.verdict = 'n'
    ), keyed AS (
        INSERT INTO {space}.entry_key (stream_id, key, seq, id, bucket, body)
        SELECT f.stream_id, f.key, f.seq, f.id, f.bucket, f.body FROM judged f WHERE f.verdict = 'n'
    ), told AS (
        INSERT INTO {space}.news (streams, seqs)
        SELECT array_agg(f.stream_id), array_agg(f.seq) FROM judged f WHERE f.verdict = 'n'
        HAVING count(*) > 0
    )
    SELECT j.place, j.verdict::"char",
           CASE j.verdict WHEN 'n' THEN j.seq ELSE coalesce(j.known_seq, 0) END,
           CASE j.verdict WHEN 'n' THEN j.id ELSE coalesce(j.known_id, 0) END,
           CASE j.verdict WHEN 'n' THEN j.ordinal ELSE 0 END
    FROM judged j ORDER BY j.place;
END $$;

-- compatible-from: 2
-- The append says what entries have in common once, and answers with one row: a driver's work for each value, and the
-- server's for each row, were half of what a thousand entries cost. The function before stays for servers that use it.

-- An entry is of a stream with the fence that its writer knows (`stream_at`, from 1), in a manner (`manner_at`, from 1):
-- author, kind, whether it counts, whether it raises the fence, sizes of key and body. In `packed` an entry ends at its
-- `ends` and begins where the one before ended: 32 bytes of digest, then key, body and data.
-- The whole append is one statement, so the row locks that order it are held by the server alone: a client that is
-- stopped, or dies, holds nothing. Rows are locked in the order of their ids, so appends cannot deadlock.
CREATE FUNCTION {space}.append(
    streams bigint[], fences bigint[],
    authors text[], kinds smallint[], counts boolean[], raising boolean[], key_sizes integer[], body_sizes integer[],
    stream_at integer[], ids bigint[], manner_at integer[], ends integer[], packed bytea, now_bucket integer
) RETURNS TABLE (outcomes text, seqs bigint[], found_ids bigint[], found_counted bigint[])
LANGUAGE plpgsql
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    PERFORM 1 FROM {space}.stream s WHERE s.id = ANY (streams) ORDER BY s.id FOR NO KEY UPDATE;
    RETURN QUERY
    WITH given AS MATERIALIZED (
        SELECT g.stream_id, g.id, g.manner, g.key, g.body, g.digest, g.data_from, g.data_size, g.counts, g.raises,
               g.place::integer AS place, s.last_seq, s.counted, s.chain,
               greatest(s.bucket, now_bucket) AS bucket, s.bucket AS old_bucket,
               k.seq AS known_seq, k.id AS known_id,
               CASE WHEN s.id IS NULL THEN 'm'
                    WHEN k.seq IS NOT NULL THEN CASE WHEN k.body = g.body OR k.body = '' THEN 'e' ELSE 'c' END
                    WHEN g.fence >= 0 AND g.fence <> s.fence THEN 's'
                    ELSE 'n' END AS verdict
        FROM (
            SELECT u.stream_id, u.fence, u.id, u.manner, u.place, counts[u.manner] AS counts, raising[u.manner] AS raises,
                   substring(packed FROM u.begins + 1 FOR 32) AS digest,
                   substring(packed FROM u.begins + 33 FOR u.key_size) AS key,
                   substring(packed FROM u.begins + 33 + u.key_size FOR u.body_size) AS body,
                   u.begins + 33 + u.key_size + u.body_size AS data_from,
                   u.upto - u.begins - 32 - u.key_size - u.body_size AS data_size
            FROM (
                SELECT streams[a.stream_at] AS stream_id, fences[a.stream_at] AS fence, a.id, a.manner, a.place, a.upto,
                       coalesce(ends[a.place - 1], 0) AS begins,
                       key_sizes[a.manner] AS key_size, body_sizes[a.manner] AS body_size
                FROM unnest(stream_at, ids, manner_at, ends) WITH ORDINALITY AS a(stream_at, id, manner, upto, place)
            ) u
        ) g
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
        SELECT f.stream_id, f.seq, f.id, f.ordinal, f.bucket, kinds[f.manner], f.seq = f.last_seq + 1, authors[f.manner],
               f.key, f.digest, substring(packed FROM f.data_from FOR f.data_size)
        FROM judged f WHERE f.verdict = 'n'
    ), keyed AS (
        INSERT INTO {space}.entry_key (stream_id, key, seq, id, bucket, body)
        SELECT f.stream_id, f.key, f.seq, f.id, f.bucket, f.body FROM judged f WHERE f.verdict = 'n'
    ), told AS (
        INSERT INTO {space}.news (streams, seqs)
        SELECT array_agg(f.stream_id), array_agg(f.seq) FROM judged f WHERE f.verdict = 'n'
        HAVING count(*) > 0
    )
    SELECT string_agg(j.verdict, ''),
           array_agg(CASE j.verdict WHEN 'n' THEN j.seq ELSE coalesce(j.known_seq, 0) END),
           array_agg(CASE j.verdict WHEN 'n' THEN j.id ELSE coalesce(j.known_id, 0) END),
           array_agg(CASE j.verdict WHEN 'n' THEN j.ordinal ELSE 0 END)
    FROM (SELECT * FROM judged ORDER BY place) j;
END $$;

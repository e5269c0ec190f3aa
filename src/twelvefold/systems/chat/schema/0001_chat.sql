-- compatible-from: 1
-- Conversations and who is in them. The messages themselves are in the timeline (schema timeline_chat).
CREATE SCHEMA IF NOT EXISTS chat;

CREATE TABLE chat.conversation (
    id bigint PRIMARY KEY, -- also the timeline's stream
    tenant_id bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('direct', 'group', 'channel')),
    name text NOT NULL DEFAULT '',
    channel text COLLATE "C", -- the name that Centrifugo clients know it by
    direct_key bytea, -- of the pair, so that there is one direct conversation between two
    access text NOT NULL CHECK (access IN ('private', 'open')),
    history text NOT NULL CHECK (history IN ('all', 'joined')),
    slow_mode_seconds integer NOT NULL DEFAULT 0,
    members integer NOT NULL DEFAULT 0 CHECK (members >= 0),
    created_at_ms bigint NOT NULL,
    created_by text NOT NULL,
    CONSTRAINT conversation_channel UNIQUE (tenant_id, channel),
    CONSTRAINT conversation_pair UNIQUE (tenant_id, direct_key)
);

CREATE TABLE chat.member (
    conversation_id bigint NOT NULL REFERENCES chat.conversation ON DELETE CASCADE,
    tenant_id bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    role text NOT NULL CHECK (role IN ('owner', 'moderator', 'member')),
    joined_at_ms bigint NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
);
CREATE INDEX member_user ON chat.member (tenant_id, user_id, conversation_id);

-- What somebody may see: from a sequence on, up to another (null: still in).
CREATE TABLE chat.membership (
    conversation_id bigint NOT NULL REFERENCES chat.conversation ON DELETE CASCADE,
    tenant_id bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    from_seq bigint NOT NULL,
    to_seq bigint,
    PRIMARY KEY (conversation_id, user_id, from_seq)
);
CREATE INDEX membership_user ON chat.membership (tenant_id, user_id);

CREATE TABLE chat.ban (
    conversation_id bigint NOT NULL REFERENCES chat.conversation ON DELETE CASCADE,
    user_id text COLLATE "C" NOT NULL,
    banned_at_ms bigint NOT NULL,
    banned_by text NOT NULL,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (conversation_id, user_id)
);

-- Watermarks: one row a member, however many messages; they only ever rise.
CREATE TABLE chat.receipt (
    conversation_id bigint NOT NULL REFERENCES chat.conversation ON DELETE CASCADE,
    user_id text COLLATE "C" NOT NULL,
    delivered_seq bigint NOT NULL DEFAULT 0,
    read_seq bigint NOT NULL DEFAULT 0,
    read_counted bigint NOT NULL DEFAULT 0, -- how many messages there are up to read_seq
    PRIMARY KEY (conversation_id, user_id)
) WITH (fillfactor = 70);

CREATE TABLE chat.cursor (
    tenant_id bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    device text COLLATE "C" NOT NULL,
    conversation_id bigint NOT NULL REFERENCES chat.conversation ON DELETE CASCADE,
    seq bigint NOT NULL,
    PRIMARY KEY (tenant_id, user_id, device, conversation_id)
) WITH (fillfactor = 70);

CREATE TABLE chat.reaction (
    conversation_id bigint NOT NULL REFERENCES chat.conversation ON DELETE CASCADE,
    target_seq bigint NOT NULL,
    emoji text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    at_ms bigint NOT NULL,
    PRIMARY KEY (conversation_id, target_seq, emoji, user_id)
);

-- Which messages answer which thread; kept by the worker, so it may lag a moment.
CREATE TABLE chat.thread_entry (
    conversation_id bigint NOT NULL REFERENCES chat.conversation ON DELETE CASCADE,
    thread_seq bigint NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (conversation_id, thread_seq, seq)
);

CREATE TABLE chat.search_entry (
    conversation_id bigint NOT NULL REFERENCES chat.conversation ON DELETE CASCADE,
    seq bigint NOT NULL,
    id bigint NOT NULL,
    tenant_id bigint NOT NULL,
    author text NOT NULL,
    words tsvector NOT NULL,
    PRIMARY KEY (conversation_id, seq)
);
CREATE INDEX search_words ON chat.search_entry USING gin (words);
CREATE INDEX search_age ON chat.search_entry (id);

CREATE TABLE chat.push_subscription (
    id bigint PRIMARY KEY,
    tenant_id bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    device text COLLATE "C" NOT NULL,
    service text NOT NULL CHECK (service IN ('webpush', 'fcm', 'apns')),
    address text NOT NULL,
    keys jsonb,
    UNIQUE (tenant_id, user_id, device)
);

CREATE TABLE chat.push_job (
    subscription_id bigint NOT NULL REFERENCES chat.push_subscription ON DELETE CASCADE,
    conversation_id bigint NOT NULL,
    seq bigint NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    due_at_ms bigint NOT NULL,
    PRIMARY KEY (subscription_id, conversation_id, seq)
);
CREATE INDEX push_due ON chat.push_job (due_at_ms);

CREATE TABLE chat.medium (
    id bigint PRIMARY KEY,
    tenant_id bigint NOT NULL,
    conversation_id bigint NOT NULL REFERENCES chat.conversation ON DELETE CASCADE,
    owner text NOT NULL,
    name text NOT NULL,
    content_type text NOT NULL,
    size_bytes bigint NOT NULL,
    width integer NOT NULL DEFAULT 0,
    height integer NOT NULL DEFAULT 0,
    has_thumbnail boolean NOT NULL DEFAULT false,
    deleted boolean NOT NULL DEFAULT false -- its bytes are still to be removed from the blobs
);
CREATE INDEX medium_deleted ON chat.medium (id) WHERE deleted;

-- Tokens of a user that were made before a moment are no longer good.
CREATE TABLE chat.revocation (
    tenant_id bigint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    before_s bigint NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);

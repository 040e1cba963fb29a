-- Times are microseconds since 1970; ids are 16-byte blobs; booleans are 0 and 1.

create table object (
    no integer primary key,
    kind integer not null,
    id blob not null,
    org blob not null,
    revision integer not null,
    body blob not null,
    created_at integer not null,
    updated_at integer not null,
    unique (kind, id)
);
create index object_org on object (kind, org, id);

create table object_name (
    kind integer not null,
    org blob not null,
    name text not null,
    id blob not null,
    place integer not null,
    primary key (kind, org, name)
) without rowid;
create index object_name_id on object_name (kind, id, place);

-- Numbers are never used again: an entry that was left behind is never taken for another stream's.
create table stream (
    no integer primary key autoincrement,
    id blob not null unique,
    last_idx integer not null,
    last_updated_at integer not null,
    bytes integer not null
);

create table lane (
    no integer primary key autoincrement,
    stream integer not null,
    sync blob not null,
    collection text not null,
    unique (stream, sync, collection)
);

-- Clustered in delivery order: id = stream << 40 | idx. kind: 0 live, 1 tombstone, 2 purge.
create table log (
    id integer primary key,
    lane integer not null,
    record blob not null,
    kind integer not null,
    upstream_id text not null,
    upstream_created_at integer,
    upstream_updated_at integer,
    inserted_at integer not null,
    updated_at integer not null,
    data blob
);

-- What an append compares with, without touching bodies; one row per live entry of the log.
-- version_kind: 0 the provider's own, 1 the time it was seen.
create table key (
    record blob primary key,
    id integer not null,
    lane integer not null,
    hash blob not null,
    deleted integer not null,
    version_kind integer not null,
    version integer not null
) without rowid;

-- Logs that were dropped and are still being cleared away.
create table dropped_stream (
    no integer primary key
);

create table cursor (
    sync blob not null,
    collection text not null,
    body blob not null,
    primary key (sync, collection)
) without rowid;

create table lease (
    name text primary key,
    owner blob,
    fence integer not null,
    until integer not null
) without rowid;

-- seq counts the writes of a consumer's state: one that was computed on top of a lost one is refused.
create table consumer (
    no integer primary key autoincrement,
    id blob not null unique,
    stream blob not null,
    seq integer not null,
    position integer not null,
    generation integer not null
);
create index consumer_stream on consumer (stream);

-- phase: 0 held, 1 leased until at, 2 expired at, 3 nacked and due at.
create table outstanding (
    consumer integer not null,
    idx integer not null,
    record blob not null,
    generation integer not null,
    attempts integer not null,
    phase integer not null,
    at integer not null,
    error text,
    primary key (consumer, idx)
) without rowid;

create table dead_letter (
    consumer integer not null,
    record blob not null,
    idx integer not null,
    attempts integer not null,
    error text,
    died_at integer not null,
    primary key (consumer, record)
) without rowid;
create index dead_letter_record on dead_letter (record);

create table idempotency (
    org blob not null,
    endpoint text not null,
    key text not null,
    request blob not null,
    claimed_at integer not null,
    status integer,
    body blob,
    primary key (org, endpoint, key)
) without rowid;
create index idempotency_claimed_at on idempotency (claimed_at);

create table inbox (
    no integer primary key autoincrement,
    id blob not null unique,
    org blob not null,
    sync blob,
    provider text not null,
    received_at integer not null,
    headers blob not null,
    body blob not null,
    state integer not null
);

-- Written by the readiness check.
create table probe (
    one integer primary key check (one = 1),
    count integer not null
);

-- What makes a write happen exactly once, and its event be told exactly once. Every service database has it.

-- One row per mutation that was answered: the same key with the same request gets the stored answer.
create table idempotency (
    caller       text        not null,
    request_id   text        not null,
    method       text        not null,
    request_hash bytea       not null,
    response     bytea,
    created_at   timestamptz not null default now(),
    primary key (caller, request_id)
);
create index idempotency_by_age on idempotency (created_at);

-- Events written in the transaction of the change they tell of. The relay moves them to the feed.
create table outbox (
    outbox_id   bigint generated always as identity primary key,
    event_id    uuid        not null,
    kind        text        not null,
    subject     text        not null,
    traceparent text        not null,
    body        bytea       not null,
    occurred_at timestamptz not null default now()
);

-- The events in commit order, without gaps. A position is given by the relay to a committed outbox row: an
-- identity column would be skipped by a reader when a transaction with a lower number commits late.
create table feed (
    position    bigint      primary key,
    event_id    uuid        not null unique,
    kind        text        not null,
    subject     text        not null,
    traceparent text        not null,
    body        bytea       not null,
    occurred_at timestamptz not null
);

-- How far this service has folded the feeds it follows; moved in the transaction of the fold.
create table consumer_position (
    source   text   primary key,
    position bigint not null
);

-- Which feed this is. A consumer must not take positions of another feed, e.g. of a database made anew, for its own.
create table feed_identity (
    only_row boolean primary key default true check (only_row),
    feed_id  uuid    not null default gen_random_uuid()
);
insert into feed_identity default values;

-- Audit of settled claims. The numbers of kinds, states and verdicts are those of the contract.

-- Settled claims are found by the time at which they became paid.
create index claim_step_paid on claim_step (taken_at, claim_id) where state = 9;

-- Published lists. What stands above "seed" never changes; the rest is written once, by the draw.
create table audit_frame (
    frame_id          uuid        primary key,
    kind              smallint    not null check (kind in (1, 2)),
    quarter           text        not null,
    policy_from       date        not null,
    sample_size       bigint      not null,
    stratum_minimum   bigint      not null,
    row_count         bigint      not null,
    frame_hash        text        not null,
    -- Of the pseudonyms; never published.
    salt              bytea       not null,
    published_at      timestamptz not null,
    published_by      text        not null,
    seed_source       text        not null,
    seed_at           timestamptz not null,
    seed              text,
    seed_published_at timestamptz,
    drawn_at          timestamptz,
    drawn_by          text,
    drawn             bigint,
    sample_hash       text,
    constraint audit_frame_once unique (kind, quarter),
    check (seed_at > published_at),
    check ((seed is null) = (drawn_at is null) and (seed is null) = (sample_hash is null)),
    check (seed_published_at >= seed_at and drawn_at >= seed_published_at)
);

create table audit_stratum (
    frame_id uuid   not null references audit_frame,
    name     text   collate "C" not null,
    size     bigint not null check (size > 0),
    drawn    bigint not null default 0 check (drawn between 0 and size),
    primary key (frame_id, name)
);

create table audit_frame_row (
    frame_id uuid not null,
    -- Pseudonym of a claim, or code of a hospital; sorted byte by byte, as the file is.
    key      text collate "C" not null,
    stratum  text collate "C" not null,
    -- The claim behind a pseudonym; never published.
    claim_id uuid,
    primary key (frame_id, key)
);

-- The drawn rows, each with what its weight is made of.
create table audit_sample (
    frame_id      uuid    not null references audit_frame,
    place         integer not null,
    key           text    not null,
    stratum       text    not null,
    stratum_size  bigint  not null,
    stratum_drawn bigint  not null check (stratum_drawn between 1 and stratum_size),
    primary key (frame_id, place),
    unique (frame_id, key)
);

-- The detailed audit of each drawn claim.
create table audit (
    audit_id         uuid        primary key,
    frame_id         uuid        not null,
    place            integer     not null,
    quarter          text        not null,
    claim_id         uuid        not null unique references claim,
    sep_number       text        not null,
    facility_code    text        not null,
    paid_rupiah      bigint      not null,
    state            smallint    not null check (state between 1 and 3),
    registered_at    timestamptz not null,
    review_begun_at  timestamptz,
    reviewed_by      text        not null default '',
    findings         integer     not null default 0,
    verdict          smallint    check (verdict between 1 and 3),
    conclusion       text        not null default '',
    protocol_version text        not null default '',
    recovery_rupiah  bigint      not null default 0 check (recovery_rupiah between 0 and paid_rupiah),
    closed_at        timestamptz,
    -- Day of closing in Asia/Jakarta.
    closed_on        date,
    closed_by        text        not null default '',
    foreign key (frame_id, place) references audit_sample,
    check ((state = 3) = (verdict is not null) and (state = 3) = (closed_on is not null))
);
create index audit_by_facility on audit (facility_code, audit_id);
create index audit_by_day_of_closing on audit (closed_on) where closed_on is not null;

create table audit_finding (
    audit_id      uuid        not null references audit,
    number        integer     not null,
    kind          smallint    not null,
    detail        text        not null,
    amount_rupiah bigint      not null check (amount_rupiah >= 0),
    recorded_at   timestamptz not null,
    recorded_by   text        not null,
    primary key (audit_id, number)
);

-- What a hospital owes after an audit. Settlement reads it; what was offset against payments it keeps for itself.
create table audit_recovery (
    audit_id      uuid        primary key references audit,
    claim_id      uuid        not null references claim,
    facility_code text        not null,
    verdict       smallint    not null,
    amount_rupiah bigint      not null check (amount_rupiah > 0),
    recorded_at   timestamptz not null,
    recorded_on   date        not null
);
create index audit_recovery_by_facility on audit_recovery (facility_code, audit_id);
create index audit_recovery_by_claim on audit_recovery (claim_id);

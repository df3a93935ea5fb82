-- SEPs and the answers of other systems they rest on.

-- Serials of document numbers, one row for each facility and month of service.
create table sep_counter (
    facility_code text    not null,
    month         date    not null,
    last          integer not null constraint sep_numbers_exhausted check (last between 1 and 999999),
    primary key (facility_code, month)
);

create table sep (
    sep_number    text        primary key,
    facility_code text        not null,
    member_id     uuid        not null,
    service_date  date        not null,
    care_type     smallint    not null check (care_type in (1, 2)),
    -- Empty for in-patient care.
    clinic        text        not null,
    emergency     boolean     not null,
    issued_at     timestamptz not null,
    cancelled_at  timestamptz,
    cancel_note   text        not null default '',
    -- jkn.claims.v1.Sep as it was issued, without number, evidence and cancellation: a letter is not rewritten.
    letter        bytea       not null
);
create unique index sep_one_open on sep (member_id, facility_code, service_date, clinic) where cancelled_at is null;
create index sep_by_facility on sep (facility_code, service_date);

create table sep_evidence (
    sep_number  text        not null references sep,
    edge        text        not null,
    answer_id   text        not null,
    number      text        not null,
    answered_at timestamptz not null,
    answer_type text        not null,
    -- The answer as it was received.
    answer      bytea       not null,
    primary key (sep_number, edge)
);

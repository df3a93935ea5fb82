-- What the events of the other systems add up to. Everything here can be built again from their feeds.

-- Each counted case with the event that told of it, so that a figure can be had as of any past instant.
-- "day" is the day the case belongs to, "ended" the day its clock ended (claims only), "known_day" the day of
-- the event in Asia/Jakarta. Corrections are cases of minus one.
create table fact (
    source        text        not null,
    position      bigint      not null,
    ordinal       integer     not null,
    measure       text        not null,
    day           date        not null,
    ended         date,
    facility_code text        not null,
    segment       text        not null,
    care_type     text        not null,
    cases         bigint      not null,
    rupiah        bigint      not null,
    occurred_at   timestamptz not null,
    known_day     date        not null,
    primary key (source, position, ordinal)
);
create index fact_by_known_day on fact (known_day, measure);

-- The same cases summed by the day they became known. An as-of instant is the whole days before it from here
-- and the facts of its own day.
create table day_counter (
    measure       text   not null,
    day           date   not null,
    ended         date,
    facility_code text   not null,
    segment       text   not null,
    care_type     text   not null,
    known_day     date   not null,
    cases         bigint not null,
    rupiah        bigint not null,
    constraint day_counter_cell
        unique nulls not distinct (measure, day, ended, facility_code, segment, care_type, known_day)
);

-- What later events of a member, a visit, a SEP or a claim need to know of earlier ones of the same feed.
create table subject (
    kind          text    not null,
    id            text    not null,
    day           date    not null,
    ended         date,
    facility_code text    not null,
    segment       text    not null,
    care_type     text    not null,
    rupiah        bigint  not null,
    primary key (kind, id)
);

-- Where each facility stands and what it is, by the time it became known.
create table facility_version (
    facility_code  text        not null,
    known_at       timestamptz not null,
    province       text        not null,
    facility_class text        not null,
    primary key (facility_code, known_at)
);

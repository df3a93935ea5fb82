-- What facilities have posted about the room they have.
create table weekly_slot (
    facility_code text     not null,
    poli_code     text     not null,
    weekday       smallint not null check (weekday between 1 and 7),
    opens_at      text     not null,
    closes_at     text     not null check (closes_at > opens_at),
    quota         integer  not null check (quota >= 0),
    primary key (facility_code, poli_code, weekday, opens_at)
);

create table day_quota (
    facility_code text    not null,
    poli_code     text    not null,
    day           date    not null,
    quota         integer not null check (quota >= 0),
    primary key (facility_code, poli_code, day)
);

create table beds (
    facility_code text        not null,
    poli_code     text        not null,
    total         integer     not null check (total >= 0),
    available     integer     not null check (available between 0 and total),
    posted_at     timestamptz not null,
    primary key (facility_code, poli_code)
);
-- Candidates are searched by clinic and day, over all facilities.
create index weekly_slot_by_clinic on weekly_slot (poli_code, weekday);
create index day_quota_by_clinic on day_quota (poli_code, day);
create index beds_by_clinic on beds (poli_code);

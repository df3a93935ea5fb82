-- What becomes of a SEP after its issue, and the letters that one SEP leads to and the next cites.

alter table sep
    -- jkn.claims.v1.Sep as it was last changed; the letter as issued stays in letter.
    add column amended     bytea,
    add column version     integer not null default 1 check (version >= 1),
    -- Day of the accident it follows from.
    add column accident_on date,
    add check ((amended is null) = (version = 1));
create index sep_of_accident on sep (member_id, service_date) where accident_on is not null;

-- Every version after the one that was issued.
create table sep_version (
    sep_number text        not null references sep,
    version    integer     not null check (version >= 2),
    changed_at timestamptz not null,
    changed_by text        not null,
    letter     bytea       not null,
    primary key (sep_number, version)
);

-- Serials of letter numbers, one row for each facility, month of issue and letter.
create table follow_up_counter (
    facility_code text    not null,
    month         date    not null,
    letter        text    not null check (letter in ('K', 'N')),
    last          integer not null constraint follow_up_numbers_exhausted check (last between 1 and 999999),
    primary key (facility_code, month, letter)
);

-- Control letters, in-patient orders and internal referrals; the numbers of kinds are those of the contract.
create table follow_up (
    follow_up_number text        primary key,
    kind             smallint    not null check (kind in (1, 2, 3)),
    facility_code    text        not null,
    member_id        uuid        not null,
    based_on         text        not null references sep,
    clinic           text        not null,
    doctor_code      text        not null,
    planned_on       date        not null,
    -- The referral that the chain of SEPs began with and the clinic it is for; empty after an emergency or a stay.
    referral_number  text        not null,
    referral_clinic  text        not null,
    usable_through   date        not null,
    version          integer     not null default 1,
    issued_at        timestamptz not null,
    used_by          text        references sep,
    cancelled_at     timestamptz,
    cancel_note      text        not null default '',
    check (used_by is null or cancelled_at is null)
);
create unique index follow_up_one_open on follow_up (based_on, kind, clinic) where used_by is null and cancelled_at is null;
create index follow_up_of_sep on follow_up (based_on);
create index follow_up_used_by on follow_up (used_by) where used_by is not null;
create index follow_up_of_facility on follow_up (facility_code, follow_up_number);
create index follow_up_of_member on follow_up (member_id, follow_up_number);

-- Requests for approval of a SEP that comes late or without a fingerprint, and validated fingerprints.

create table sep_approval (
    approval_id   uuid        primary key,
    kind          smallint    not null check (kind in (1, 2)),
    facility_code text        not null,
    member_id     uuid        not null,
    service_date  date        not null,
    care_type     smallint    not null check (care_type in (1, 2)),
    note          text        not null,
    requested_at  timestamptz not null,
    decided_at    timestamptz,
    decided_by    text        not null default '',
    approved      boolean,
    decision_note text        not null default '',
    valid_through date,
    used_by       text        references sep,
    check ((decided_at is null) = (approved is null)),
    check ((approved is true) = (valid_through is not null)),
    check (used_by is null or approved is true)
);
create unique index sep_approval_one_asked on sep_approval (member_id, facility_code, service_date, care_type, kind)
    where decided_at is null;
create index sep_approval_for on sep_approval (member_id, facility_code, service_date, care_type);
create index sep_approval_of_facility on sep_approval (facility_code, approval_id);
create index sep_approval_used_by on sep_approval (used_by) where used_by is not null;

create table fingerprint (
    member_id     uuid        not null,
    facility_code text        not null,
    service_date  date        not null,
    recorded_at   timestamptz not null,
    primary key (member_id, facility_code, service_date)
);

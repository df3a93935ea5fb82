-- From the application to the decision.
create table survey (
    survey_id                  uuid primary key,
    facility_code              text        not null collate "C" references facility,
    state                      text        not null,
    applied_on                 date        not null,
    renewal                    boolean     not null,
    applied_late               boolean     not null,
    equipment_registry_updated boolean     not null,
    all_staff_registered       boolean     not null,
    licensed_percent           integer     not null,
    quality_months             integer     not null,
    incident_months            integer     not null,
    surveyor_institution       text,
    surveyor_numbers           text[]      not null default '{}',
    held_from                  date,
    held_to                    date,
    days_on_site               integer,
    grade                      text,
    decided_on                 date,
    recorded_at                timestamptz not null
);
create unique index survey_open on survey (facility_code) where state <> 'decided';
create index survey_by_facility on survey (facility_code, survey_id desc);

-- The score of a chapter with the elements it was made of. A chapter scored again supersedes its former score.
create table chapter_score (
    chapter_score_id bigint generated always as identity primary key,
    survey_id        uuid        not null references survey,
    chapter          text        not null,
    points           integer     not null,
    max_points       integer     not null,
    elements         text[]      not null,
    fulfilments      text[]      not null,
    recorded_at      timestamptz not null,
    superseded_at    timestamptz,
    check (cardinality(elements) = cardinality(fulfilments))
);
create unique index chapter_score_in_use on chapter_score (survey_id, chapter) where superseded_at is null;

-- Certificates: issued by a decision, or brought in (without a survey).
create table certificate (
    certificate_number text collate "C" primary key,
    facility_code      text        not null collate "C" references facility,
    grade              text        not null,
    valid_from         date        not null,
    valid_to           date        not null,
    apply_by           date        not null,
    survey_id          uuid unique references survey,
    grading_source     text        not null,
    revoked_on         date,
    revocation_note    text        not null default '',
    recorded_at        timestamptz not null,
    check (valid_to >= valid_from)
);
create index certificate_by_facility on certificate (facility_code, valid_from);
create index certificate_by_expiry on certificate (valid_to, certificate_number);

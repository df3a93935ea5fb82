-- Visits at first-level facilities, and their numbers.

-- The last serial given, per facility, month and letter: numbers run without gaps, and a lost write gives its number back.
create table document_counter (
    facility_code text    not null,
    month         date    not null check (extract(day from month) = 1),
    letter        text    not null check (letter ~ '^[A-Z]$'),
    last_serial   integer not null check (last_serial between 1 and 999999),
    primary key (facility_code, month, letter)
);

create table visit (
    visit_number            text        primary key,
    facility_code           text        not null,
    member_id               uuid        not null,
    kind                    text        not null check (kind in ('sick', 'healthy', 'home')),
    state                   text        not null check (state in ('registered', 'examined', 'discharged', 'referred', 'cancelled')),
    visit_date              date        not null,
    registered_at           timestamptz not null,
    emergency               boolean     not null,
    complaint               text        not null,
    -- What membership answered about the member on the visit date; the segment by its name in membership's contract.
    eligibility_answer_id   text        not null,
    eligibility_answered_at timestamptz not null,
    segment                 text        not null,
    registered_fktp_code    text        not null,
    region_code             text        not null,
    -- Vital signs; null is not measured.
    systolic_mmhg           integer,
    diastolic_mmhg          integer,
    heart_rate              integer,
    respiratory_rate        integer,
    temperature_decicelsius integer,
    weight_grams            integer,
    height_millimetres      integer,
    waist_millimetres       integer,
    consciousness           text        check (consciousness in ('alert', 'somnolent', 'soporous', 'comatose')),
    -- ICD-10, the first is the primary one.
    diagnosis_codes         text[]      not null default '{}' check (cardinality(diagnosis_codes) <= 3),
    discharge_status        text        check (discharge_status in ('recovered', 'died', 'left-against-advice', 'outpatient', 'referred', 'internal', 'other')),
    discharge_date          date,
    cancel_note             text        not null default '',
    -- A referral that was asked for and whose outcome is not known yet: the request, word for word, under its key.
    pending_request_id      text,
    pending_request         bytea,
    -- The referral in which the visit ended.
    referral_number         text        unique,
    destination_facility_code text,
    poli_code               text,
    non_specialist          boolean,
    tacc                    text        check (tacc in ('time', 'age', 'complication', 'comorbidity')),
    tacc_note               text,
    check ((pending_request_id is null) = (pending_request is null)),
    check ((tacc is null) = (tacc_note is null)),
    check ((state in ('discharged', 'referred')) = (discharge_status is not null)),
    check ((discharge_status is null) = (discharge_date is null)),
    check ((state = 'referred') = (referral_number is not null)),
    check (state <> 'referred' or (destination_facility_code is not null and poli_code is not null and non_specialist is not null))
);

-- A member has one unfinished visit a day at a facility.
create unique index visit_open on visit (facility_code, member_id, visit_date) where state in ('registered', 'examined');
create index visit_by_facility on visit (facility_code, visit_date desc, visit_number desc);
create index visit_by_member on visit (member_id, visit_date);

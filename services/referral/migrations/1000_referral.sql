-- The referral letter with the times of its events. Where it stands, and until when it may be used, is derived.
create table referral (
    referral_number           text        primary key,
    member_id                 uuid        not null,
    origin_facility_code      text        not null,
    origin_kind               text        not null check (origin_kind in ('fktp', 'hospital')),
    origin_region_code        text        not null,
    origin_visit_number       text,
    destination_facility_code text        not null check (destination_facility_code <> origin_facility_code),
    poli_code                 text        not null,
    care_type                 text        not null check (care_type in ('outpatient', 'inpatient', 'emergency')),
    referral_type             text        not null check (referral_type in ('full', 'partial', 'back')),
    referral_date             date        not null,
    planned_visit_date        date        not null check (planned_visit_date >= referral_date),
    diagnosis_code            text        not null,
    criterion_kind            text        not null check (criterion_kind in ('therapy', 'procedure', 'diagnostic_effort')),
    criterion                 text        not null,
    tacc                      text        check (tacc in ('time', 'age', 'complication', 'comorbidity')),
    clinical_summary          text        not null,
    ladder_exemption          text        check (ladder_exemption in ('specificity', 'geography', 'availability')),
    special_programme         text,
    sent_at                   timestamptz not null,
    accepted_at               timestamptz,
    refused_at                timestamptz,
    refusal_reason            text,
    refusal_note              text        not null default '',
    cancelled_at              timestamptz,
    cancel_note               text        not null default '',
    arrived_at                timestamptz,
    completed_at              timestamptz,
    outcome                   text,
    outcome_diagnosis_code    text,
    advice                    text        not null default '',
    -- What no interleaving of calls may bring about.
    constraint one_answer check (accepted_at is null or refused_at is null),
    constraint no_arrival_after_an_end check (arrived_at is null or (refused_at is null and cancelled_at is null)),
    constraint completed_after_arrival check (completed_at is null or arrived_at is not null),
    constraint refusal_has_a_reason check ((refused_at is null) = (refusal_reason is null)),
    constraint completion_has_an_outcome check ((completed_at is null) = (outcome is null))
);
create index referral_sent on referral (origin_facility_code, sent_at desc, referral_number desc);
create index referral_received on referral (destination_facility_code, sent_at desc, referral_number desc);
create index referral_of_member on referral (member_id, sent_at desc);
create index referral_newest on referral (sent_at desc, referral_number desc);
create index referral_planned on referral (planned_visit_date, poli_code, destination_facility_code);

-- The last serial given, per facility, month and letter; moved in the transaction of the referral.
create table referral_serial (
    facility_code text    not null,
    month         date    not null,
    letter        text    not null,
    last          integer not null check (last between 1 and 999999),
    primary key (facility_code, month, letter)
);

-- Claims of drawn hospitals whose coding is reviewed.
create table coding_review (
    frame_id             uuid        not null references audit_frame,
    facility_code        text        not null,
    place                integer     not null,
    claim_id             uuid        not null references claim,
    -- Everything below stays empty until the review is made.
    reviewed_at          timestamptz,
    -- jkn.claims.v1.CodingReview as it was made, without what stands above.
    review               bytea,
    diagnoses_reviewed   bigint      not null default 0,
    diagnoses_agreed     bigint      not null default 0 check (diagnoses_agreed between 0 and diagnoses_reviewed),
    procedures_reviewed  bigint      not null default 0,
    procedures_agreed    bigint      not null default 0 check (procedures_agreed between 0 and procedures_reviewed),
    cbg_changed          boolean     not null default false,
    effect_rupiah        bigint,
    primary key (frame_id, facility_code, place),
    unique (frame_id, claim_id),
    check ((reviewed_at is null) = (review is null))
);

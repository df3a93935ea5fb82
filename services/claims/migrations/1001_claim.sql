-- Claims. The numbers of states, parties and reasons are those of the contract.

create table claim (
    claim_id          uuid        primary key,
    sep_number        text        not null constraint claim_one_for_a_sep unique references sep,
    facility_code     text        not null,
    member_id         uuid        not null,
    care_type         smallint    not null,
    service_date      date        not null,
    state             smallint    not null check (state between 1 and 10),
    -- Steps taken so far; the number of the last row in claim_step.
    steps             integer     not null,
    created_at        timestamptz not null,
    -- jkn.claims.v1.ClaimData and jkn.claims.v1.Grouping.
    data              bytea,
    grouping          bytea,
    tariff_rupiah     bigint      check (tariff_rupiah > 0),
    discharged_on     date,
    submitted_at      timestamptz,
    -- The last round of pending; asked_of and asked_at only while it is open.
    round             integer     not null default 0,
    pending_reason    smallint,
    asked_of          smallint,
    asked_at          timestamptz,
    approved_rupiah   bigint      check (approved_rupiah > 0),
    approved_on       date,
    payment_reference text        constraint claim_payment_reference unique,
    paid_rupiah       bigint      check (paid_rupiah > 0),
    paid_on           date,
    check ((asked_of is null) = (asked_at is null)),
    check (state <> 5 or asked_of is not null),
    check (state <> 9 or (paid_rupiah = approved_rupiah and payment_reference is not null and paid_on is not null))
);
create index claim_by_facility on claim (facility_code, claim_id);
create index claim_by_state on claim (state, claim_id);

-- Every step a claim has taken: all event times, from which the clocks are computed.
create table claim_step (
    claim_id uuid        not null references claim,
    step     integer     not null,
    state    smallint    not null,
    taken_at timestamptz not null,
    taken_by text        not null,
    primary key (claim_id, step)
);

-- Every round of pending.
create table claim_pending (
    claim_id    uuid        not null references claim,
    round       integer     not null,
    reason      smallint    not null,
    asked_of    smallint    not null,
    asked_at    timestamptz not null,
    -- jkn.claims.v1.Pending as it was asked (detail, findings), and as it was answered (answer, documents).
    question    bytea       not null,
    answered_at timestamptz,
    answer      bytea,
    primary key (claim_id, round)
);

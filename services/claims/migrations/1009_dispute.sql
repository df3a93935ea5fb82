-- Disputes, and the work lists. The numbers of states, grounds, bodies and outcomes are those of the contract.

alter table claim drop constraint claim_state_check;
alter table claim add constraint claim_state_check check (state between 1 and 12);

create table claim_dispute (
    dispute_id    uuid        primary key,
    claim_id      uuid        not null references claim,
    -- From 1 for each claim.
    number        integer     not null check (number > 0),
    facility_code text        not null,
    -- The round of pending that it is about.
    round         integer     not null,
    ground        smallint    not null,
    body          smallint    not null,
    amount_rupiah bigint      not null check (amount_rupiah > 0),
    opened_at     timestamptz not null,
    -- jkn.claims.v1.Dispute as it was opened (statement, documents), and as it was decided (decision).
    statement     bytea       not null,
    outcome       smallint,
    decided_at    timestamptz,
    decided_by    text,
    decision      bytea,
    unique (claim_id, number),
    check ((outcome is null) = (decided_at is null) and (outcome is null) = (decided_by is null)
       and (outcome is null) = (decision is null))
);
create unique index claim_dispute_one_open on claim_dispute (claim_id) where outcome is null;
create index claim_dispute_of_facility on claim_dispute (facility_code, dispute_id);
create index claim_dispute_open on claim_dispute (body, dispute_id) where outcome is null;

-- What a work list is read by: claims on which somebody owes a step, oldest first. Who that is, and which clocks have
-- passed, is computed when a list is read. A claim that nobody owes a step on (paid, withdrawn, decided) is in neither
-- index, so closed claims cost nothing. The day is that of Asia/Jakarta.
create index claim_work on claim
    ((coalesce((submitted_at at time zone interval '7 hours')::date, discharged_on, service_date)), claim_id)
    where state not in (9, 10, 12);
create index claim_work_of_facility on claim
    (facility_code, (coalesce((submitted_at at time zone interval '7 hours')::date, discharged_on, service_date)), claim_id)
    where state not in (9, 10, 12);

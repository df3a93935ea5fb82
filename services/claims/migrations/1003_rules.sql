-- Verification by rules: which sets were activated, and what the rules look at beside the claim itself.

-- Every act of activation; none is changed or removed. Where none covers a day of service, the policy file holds.
create table rule_set_activation (
    activation_id  bigint      generated always as identity primary key,
    -- jkn.claims.v1.RuleKind.
    kind           smallint    not null check (kind in (1, 2)),
    version        text        not null,
    digest         text        not null,
    effective_from date        not null,
    activated_at   timestamptz not null,
    activated_by   text        not null,
    note           text        not null,
    -- The set as it was sent.
    rule_set       text        not null
);
create index rule_set_by_kind on rule_set_activation (kind, activation_id desc);

-- The bill of a claim as one number, where it has so many components that equal ones are no chance: found again by it,
-- whoever the member is.
create table claim_bill (
    claim_id      uuid   primary key references claim,
    facility_code text   not null,
    member_id     uuid   not null,
    service_date  date   not null,
    bill          bigint not null
);
create index claim_bill_again on claim_bill (facility_code, bill, service_date);

-- What a tracer said of a claim when it was submitted last: met (1) or unmet (2); and when it was first assessed on it.
create table claim_tracer (
    claim_id     uuid        not null references claim,
    rule_id      text        not null,
    rule_version integer     not null,
    outcome      smallint    not null check (outcome in (1, 2)),
    assessed_at  timestamptz not null,
    primary key (claim_id, rule_id, rule_version)
);
create index claim_tracer_by_rule on claim_tracer (rule_id, rule_version, assessed_at);

-- The member's recent episodes, and the submitted claims of a period, are read by their day of service.
create index sep_of_member_by_day on sep (member_id, service_date) where cancelled_at is null;
create index claim_by_service_date on claim (service_date, claim_id) where submitted_at is not null;

-- Settlement: collective filings with their completeness record, payment batches, recoveries, and the ledger.

-- What a hospital filed of a month of service, as one collective claim.
create table filing (
    filing_id     uuid        primary key,
    facility_code text        not null,
    -- First day of the month of service.
    month         date        not null,
    -- From 1 for each facility and month: what was returned is filed again under the next number.
    number        integer     not null check (number > 0),
    claims        integer     not null check (claims > 0),
    claims_rupiah bigint      not null check (claims_rupiah > 0),
    filed_at      timestamptz not null,
    -- jkn.claims.v1.Filing as it was filed (documents).
    papers        bytea       not null,
    -- The completeness record (berita acara kelengkapan): 1 complete, 2 returned. Silence is not stored.
    outcome       smallint    check (outcome in (1, 2)),
    stated_on     date,
    note          text        not null default '',
    unique (facility_code, month, number),
    check ((outcome is null) = (stated_on is null))
);
create index filing_of_facility on filing (facility_code, filing_id);

create table filing_claim (
    claim_id      uuid   not null references claim,
    filing_id     uuid   not null references filing,
    amount_rupiah bigint not null check (amount_rupiah > 0),
    primary key (claim_id, filing_id)
);
create index filing_claim_of_filing on filing_claim (filing_id);

-- A payment to a facility: of a batch, or of a single claim (then opened, closed and paid at once).
create table payment_batch (
    batch_id          uuid        primary key,
    facility_code     text        not null,
    single            boolean     not null,
    opened_at         timestamptz not null,
    opened_by         text        not null,
    -- Set when it is closed: from then on its claims and amounts stand.
    closed_at         timestamptz,
    claims            integer     check (claims > 0),
    claims_rupiah     bigint      check (claims_rupiah > 0),
    penalties_rupiah  bigint      check (penalties_rupiah >= 0),
    offset_rupiah     bigint      check (offset_rupiah >= 0),
    due_rupiah        bigint      check (due_rupiah >= 0),
    -- Set when it is paid.
    payment_reference text        constraint payment_reference_once unique,
    paid_on           date,
    paid_rupiah       bigint,
    check ((closed_at is null) = (due_rupiah is null)),
    check (due_rupiah = claims_rupiah + penalties_rupiah - offset_rupiah),
    check ((paid_on is null) = (payment_reference is null) and (paid_on is null) = (paid_rupiah is null)),
    check (paid_on is null or (closed_at is not null and paid_rupiah = due_rupiah))
);
create unique index payment_batch_one_open on payment_batch (facility_code) where closed_at is null;
create index payment_batch_of_facility on payment_batch (facility_code, batch_id);
create index payment_batch_by_closing on payment_batch (closed_at) where closed_at is not null;

-- The claims of a batch. The key keeps a claim out of a second one.
create table payment_line (
    claim_id       uuid        constraint payment_line_once primary key references claim,
    batch_id       uuid        not null references payment_batch,
    amount_rupiah  bigint      not null check (amount_rupiah > 0),
    posted_at      timestamptz not null,
    -- Set when the batch is paid: the day on which it was due, what its lateness costs, and the later batch that pays that.
    due_on         date,
    penalty_rupiah bigint      not null default 0 check (penalty_rupiah >= 0),
    penalty_batch  uuid        references payment_batch
);
create index payment_line_of_batch on payment_line (batch_id, claim_id);
create index payment_line_penalty on payment_line (batch_id) where penalty_rupiah > 0 and penalty_batch is null;
create index payment_line_penalty_batch on payment_line (penalty_batch) where penalty_batch is not null;
-- For reconciliation: what was paid in a time, in whatever way.
create index claim_by_payment on claim (paid_on) where paid_on is not null;

-- What an audit found to be paid too much, and how it was taken from later batches.
create table recovery (
    recovery_id     uuid        primary key,
    facility_code   text        not null,
    claim_id        uuid        not null references claim,
    audit_reference text        not null constraint recovery_audit_reference unique,
    amount_rupiah   bigint      not null check (amount_rupiah > 0),
    left_rupiah     bigint      not null check (left_rupiah between 0 and amount_rupiah),
    decided_on      date        not null,
    recorded_at     timestamptz not null
);
create index recovery_of_facility on recovery (facility_code, recovery_id);
create index recovery_of_claim on recovery (claim_id);
create index recovery_left on recovery (facility_code, recovery_id) where left_rupiah > 0;

create table recovery_offset (
    recovery_id   uuid   not null references recovery,
    batch_id      uuid   not null references payment_batch,
    amount_rupiah bigint not null check (amount_rupiah > 0),
    primary key (recovery_id, batch_id)
);
create index recovery_offset_of_batch on recovery_offset (batch_id);

-- The ledger, by double entry. The numbers of accounts and kinds are those of the contract.
create table ledger_entry (
    entry_id      uuid        primary key,
    facility_code text        not null,
    kind          smallint    not null,
    batch_id      uuid        references payment_batch,
    recovery_id   uuid        references recovery,
    posted_on     date        not null,
    posted_at     timestamptz not null,
    posted_by     text        not null
);
create index ledger_entry_of_facility on ledger_entry (facility_code, entry_id);
create index ledger_entry_of_batch on ledger_entry (batch_id) where batch_id is not null;

create table ledger_line (
    entry_id      uuid     not null references ledger_entry,
    account       smallint not null check (account between 1 and 7),
    -- Debit above zero, credit below.
    amount_rupiah bigint   not null check (amount_rupiah <> 0),
    primary key (entry_id, account)
);

-- The lines of an entry come to zero when its transaction ends.
create function ledger_entry_balances() returns trigger language plpgsql as $$
begin
    if (select sum(amount_rupiah) from ledger_line where entry_id = new.entry_id) <> 0 then
        raise exception 'a ledger entry does not balance'
            using errcode = 'check_violation', constraint = 'ledger_entry_balances';
    end if;
    return null;
end $$;
create constraint trigger ledger_entry_balances after insert on ledger_line
    deferrable initially deferred for each row execute function ledger_entry_balances();

-- What was posted stands; a mistake is put right by another entry.
create function ledger_stands() returns trigger language plpgsql as $$
begin
    raise exception 'ledger entries are neither changed nor removed'
        using errcode = 'check_violation', constraint = 'ledger_stands';
end $$;
create trigger ledger_stands before update or delete on ledger_line for each row execute function ledger_stands();
create trigger ledger_stands before update or delete on ledger_entry for each row execute function ledger_stands();

-- A bank's reference may now pay many claims; that it pays once is kept by payment_batch.
alter table claim drop constraint claim_payment_reference;

-- Claims paid before there were batches: each is a payment of its own, with its entries. Its batch has the id of the claim.
insert into payment_batch (batch_id, facility_code, single, opened_at, opened_by, closed_at, claims, claims_rupiah,
                           penalties_rupiah, offset_rupiah, due_rupiah, payment_reference, paid_on, paid_rupiah)
select claim_id, facility_code, true, taken_at, taken_by, taken_at, 1, paid_rupiah, 0, 0, paid_rupiah, payment_reference,
       paid_on, paid_rupiah
from claim join claim_step using (claim_id)
where claim.state = 9 and claim_step.step = claim.steps;

insert into payment_line (claim_id, batch_id, amount_rupiah, posted_at)
select batch_id, batch_id, claims_rupiah, closed_at from payment_batch;

with entries as (
    insert into ledger_entry (entry_id, facility_code, kind, batch_id, posted_on, posted_at, posted_by)
    select gen_random_uuid(), facility_code, kind, batch_id, paid_on, closed_at, opened_by
    from payment_batch cross join (values (1::smallint), (2::smallint)) kinds (kind)
    returning entry_id, kind, batch_id
)
insert into ledger_line (entry_id, account, amount_rupiah)
select entry_id, account, sign * paid_rupiah
from entries
join payment_batch using (batch_id)
join (values (1::smallint, 1::smallint, 1), (1, 2, -1), (2, 2, 1), (2, 3, -1)) lines (kind, account, sign) using (kind);

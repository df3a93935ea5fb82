-- Payments to the accounts of families. A payment covers every owed month from first_month to last_month.

create table contribution_posting (
    posting_id     uuid        primary key,
    family_id      uuid        not null references family,
    -- The bank and its own reference; null for what was paid before an import.
    bank           text,
    bank_reference text,
    amount_rupiah  bigint      not null check (amount_rupiah >= 0),
    paid_on        date        not null,
    first_month    date        not null check (extract(day from first_month) = 1),
    last_month     date        not null check (extract(day from last_month) = 1 and last_month >= first_month),
    reactivated    boolean     not null,
    posted_at      timestamptz not null default now(),
    constraint contribution_posting_reference unique (bank, bank_reference),
    check ((bank is null) = (bank_reference is null))
);
create index contribution_posting_by_family on contribution_posting (family_id);

-- What those who pay before BPJS Kesehatan for an accident state that they bear. The numbers of payers are those of the contract.
create table primary_payment (
    sep_number    text        not null references sep,
    payer         smallint    not null check (payer between 1 and 4),
    amount_rupiah bigint      not null check (amount_rupiah >= 0),
    -- The letter of guarantee, or of refusal.
    letter_number text        not null,
    stated_on     date        not null,
    recorded_at   timestamptz not null,
    recorded_by   text        not null,
    primary key (sep_number, payer)
);

-- Families, their members, and the history of what holds for them. A period holds from valid_from on, and no longer on
-- valid_to; it is open while valid_to is null.

create table family (
    family_id     uuid        primary key,
    -- Where an imported family comes from: its sender and the sender's key of it.
    import_sender text,
    import_key    text,
    registered_at timestamptz not null default now(),
    unique (import_sender, import_key)
);

create table family_terms (
    family_id           uuid     not null references family,
    valid_from          date     not null,
    valid_to            date     check (valid_to > valid_from),
    segment             text     not null check (segment in ('PBI_APBN', 'PBPU_PEMDA', 'PPU_PN', 'PPU_BU', 'PBPU', 'BP')),
    care_class          smallint not null check (care_class between 1 and 3),
    monthly_wage_rupiah bigint   not null check (monthly_wage_rupiah >= 0),
    primary key (family_id, valid_from)
);
-- One open period at most.
create unique index family_terms_open on family_terms (family_id) where valid_to is null;

-- Card numbers have 13 digits and no meaning; a gap does no harm.
create sequence card_number minvalue 1 maxvalue 9999999999999 start 1000000001;

create table member (
    member_id         uuid        primary key,
    family_id         uuid        not null references family,
    nik               text        not null constraint member_nik unique check (length(nik) = 16),
    card_number       text        not null unique default lpad(nextval('card_number')::text, 13, '0'),
    name              text        not null,
    birth_date        date        not null,
    sex               text        not null check (sex in ('MALE', 'FEMALE')),
    relation          text        not null check (relation in ('HEAD', 'SPOUSE', 'CHILD', 'OTHER')),
    student           boolean     not null,
    region_code       text        not null check (length(region_code) = 4),
    address           text        not null,
    phone             text        not null,
    covered_from      date        not null,
    -- The last day of the membership, and why it ended.
    ended_on          date,
    ended_why         text        check (ended_why in ('DECEASED', 'ABROAD', 'DUPLICATE')),
    -- The last answer of the civil registry.
    nik_result        text        check (nik_result in ('MATCHED', 'DISCREPANT', 'NOT_FOUND')),
    nik_discrepancies text[]      not null default '{}',
    nik_checked_at    timestamptz,
    -- Where an imported member comes from.
    import_sender     text,
    import_row        text,
    updated_at        timestamptz not null default now(),
    check ((ended_on is null) = (ended_why is null)),
    check ((nik_result is null) = (nik_checked_at is null)),
    constraint member_import unique (import_sender, import_row)
);
create index member_by_family on member (family_id);
create unique index member_one_head on member (family_id) where relation = 'HEAD';

-- What a record said before a change: an amendment keeps the old version.
create table member_revision (
    member_id   uuid        not null references member,
    replaced_at timestamptz not null,
    replaced_by text        not null,
    name        text        not null,
    region_code text        not null,
    address     text        not null,
    phone       text        not null,
    primary key (member_id, replaced_at)
);

create table fktp_choice (
    member_id       uuid not null references member,
    valid_from      date not null,
    valid_to        date check (valid_to > valid_from),
    fktp_code       text not null check (length(fktp_code) = 8),
    ground          text not null check (ground in ('REGISTRATION', 'CHOICE', 'MOVED', 'ASSIGNED')),
    proof_reference text not null,
    primary key (member_id, valid_from)
);
create unique index fktp_choice_open on fktp_choice (member_id) where valid_to is null;

-- Every answer of the civil registry.
create table nik_answer (
    member_id     uuid        not null references member,
    checked_at    timestamptz not null,
    result        text        not null,
    discrepancies text[]      not null,
    primary key (member_id, checked_at)
);

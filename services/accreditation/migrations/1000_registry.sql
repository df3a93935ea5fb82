-- The registry of facilities. Codes sort by bytes, so that pages are the same on every machine.
create table facility (
    facility_code             text collate "C" primary key,
    moh_code                  text unique,
    satusehat_organization_id text unique,
    name                      text        not null,
    kind                      text        not null,
    hospital_class            text,
    ownership                 text        not null,
    region_code               text        not null,
    latitude                  double precision,
    longitude                 double precision,
    revision                  bigint      not null default 1,
    recorded_at               timestamptz not null,
    check ((latitude is null) = (longitude is null))
);
create index facility_by_region on facility (region_code, facility_code);

-- What a facility offers, one row a clinic.
create table facility_service (
    facility_code text not null collate "C" references facility,
    poli_code     text not null,
    stratum       text,
    primary key (facility_code, poli_code)
);
create index facility_service_by_poli on facility_service (poli_code, facility_code);

-- Contracts with BPJS-K. A period that is changed is superseded, not overwritten.
create table contract (
    contract_id   bigint generated always as identity primary key,
    facility_code text        not null collate "C" references facility,
    valid_from    date        not null,
    valid_to      date,
    recorded_at   timestamptz not null,
    recorded_by   text        not null,
    superseded_at timestamptz,
    check (valid_to >= valid_from)
);
create unique index contract_in_use on contract (facility_code, valid_from) where superseded_at is null;

-- Assessments of the twelve KRIS criteria; bit 0 of met is criterion 1.
create table kris_assessment (
    facility_code text        not null collate "C" references facility,
    assessed_on   date        not null,
    met           smallint    not null check (met between 0 and 4095),
    recorded_at   timestamptz not null,
    primary key (facility_code, assessed_on, recorded_at)
);

-- The register of certified coders.

create table coder_certificate (
    certificate_id     uuid        primary key,
    certificate_number text        not null,
    coder_nik          text        not null check (length(coder_nik) = 16),
    facility_code      text        not null,
    valid_from         date        not null,
    valid_to           date        not null,
    registered_at      timestamptz not null,
    -- The first day on which it holds no more.
    revoked_on         date,
    revoke_note        text        not null default '',
    check (valid_to >= valid_from)
);
create unique index coder_certificate_once on coder_certificate (certificate_number, facility_code) where revoked_on is null;
create index coder_certificate_of_coder on coder_certificate (coder_nik);
create index coder_certificate_of_facility on coder_certificate (facility_code, certificate_id);

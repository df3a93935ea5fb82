-- What first-level facilities recorded of the patient, as P-Care sent it: jkn.referral.v1.FirstLevelRecord, protobuf.
alter table referral
    add column first_level_record bytea check (octet_length(first_level_record) <= 4096);

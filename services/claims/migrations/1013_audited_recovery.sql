-- A recovery may be the one of a detailed audit: then it is of the same claim, and the only one of that audit. Null after a
-- verdict that was not made here.
alter table audit_recovery add constraint audit_recovery_of_claim unique (audit_id, claim_id);
alter table recovery
    add column audit_id uuid constraint recovery_once_for_an_audit unique,
    add constraint recovery_of_audit foreign key (audit_id, claim_id) references audit_recovery (audit_id, claim_id);

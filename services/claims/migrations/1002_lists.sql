-- Lists are read in the order of their numbers: of one facility, of one member; claims also by their day of submission.
create index sep_of_facility on sep (facility_code, sep_number);
create index sep_of_member on sep (member_id, sep_number);
create index claim_by_submission on claim (submitted_at) where submitted_at is not null;

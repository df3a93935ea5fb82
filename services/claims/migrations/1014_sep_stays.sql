-- The in-patient stays of a member are looked at for each SEP that is asked for.
create index sep_of_stays on sep (member_id, service_date) where care_type = 1 and cancelled_at is null;

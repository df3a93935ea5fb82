-- How many out-patients one doctor saw on a day is a question of the claim edits. Of SEPs that are older than this migration
-- the doctor stands in the letter only.
alter table sep add column doctor_code text not null default '';
create index sep_of_doctor on sep (facility_code, service_date, doctor_code, sep_number)
    where care_type = 2 and doctor_code <> '' and cancelled_at is null;

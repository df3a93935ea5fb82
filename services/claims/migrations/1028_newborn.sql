-- A newborn without a card of its own is treated on its mother's, on the day of her admission too: 0 for the member, else
-- which child of the birth the patient is.
alter table sep add column newborn_order smallint not null default 0 check (newborn_order between 0 and 9);
drop index sep_one_open;
create unique index sep_one_open on sep (member_id, facility_code, service_date, clinic, newborn_order)
    where cancelled_at is null;

-- That of the SEP which led to it.
alter table follow_up add column newborn_order smallint not null default 0 check (newborn_order between 0 and 9);

-- The latest episodes of a member come out of the index in their order: sorting them cost each claim that is judged more than
-- reading them.
drop index sep_of_member_by_day;
create index sep_of_member_by_day on sep (member_id, service_date, sep_number) where cancelled_at is null;

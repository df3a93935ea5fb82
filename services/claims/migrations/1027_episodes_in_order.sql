-- The latest episodes of a member come out of the index in their order, so that none has to be sorted for a claim that is
-- judged.
drop index sep_of_member_by_day;
create index sep_of_member_by_day on sep (member_id, service_date, sep_number) where cancelled_at is null;

-- What the V-Klaim side holds: the amount as it was last submitted. Null on what was submitted before this column; such a
-- claim is compared by its tariff.
alter table claim add column sent_rupiah bigint check (sent_rupiah > 0);

-- A withdrawn draft leaves its SEP free for another claim.
alter table claim drop constraint claim_one_for_a_sep;
create unique index claim_one_for_a_sep on claim (sep_number) where state <> 10;

-- A day is sent, and compared, by the day on which the service was completed.
create index claim_by_discharge on claim (discharged_on, facility_code) where discharged_on is not null;

-- Both sides of a claim. Draft (1) and grouped (2) are open at the e-Klaim side, every later state is final there; a
-- withdrawn claim (10) is on neither. The V-Klaim side holds what was ever submitted, with the amount of the last
-- submission. kind is that of jkn.claims.v1.ReconciliationDifferenceKind: the last version waits to be submitted (1), is under
-- correction (2), or was submitted with another amount (3).
create view claim_sides as
select claim_id, sep_number, facility_code, discharged_on,
       case when state not in (1, 2) then coalesce(tariff_rupiah, 0) end as eklaim,
       case when submitted_at is not null then coalesce(sent_rupiah, tariff_rupiah, 0) end as vklaim,
       case when state = 3 then 1
            when state in (1, 2) then 2
            when coalesce(sent_rupiah, tariff_rupiah) is distinct from tariff_rupiah then 3
            else 0 end as kind
from claim
where state <> 10 and (state not in (1, 2) or submitted_at is not null);

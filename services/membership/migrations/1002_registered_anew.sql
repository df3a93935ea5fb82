-- A person whose membership ended may be registered anew: a NIK is held by one running membership at most.
alter table member drop constraint member_nik;
create unique index member_nik on member (nik) where ended_on is null;
create index member_by_nik on member (nik, covered_from);

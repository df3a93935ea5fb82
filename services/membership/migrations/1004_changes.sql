-- Which transaction last changed anything that is read of a family: its terms, members, choices or payments. Whoever
-- keeps what was read asks for the changes since, and is told also of a transaction that was long under way: its number
-- is compared with the snapshot that did not see it.
--
-- Triggers, because no statement that changes a family may forget to say so, be it one that somebody types.
alter table family add column changed_xid xid8 not null default pg_current_xact_id();
create index family_by_change on family (changed_xid);

create function family_changed() returns trigger language plpgsql as $$
begin
    -- What was read of a family that is gone could not be told to be outdated.
    if tg_table_name = 'family' then
        raise exception 'a family is not deleted' using hint = 'end the memberships of its members';
    elsif tg_table_name = 'fktp_choice' and tg_op = 'UPDATE' then
        update family set changed_xid = pg_current_xact_id()
         where family_id = any (array(select m.family_id from member m where m.member_id in
                                          (select member_id from written union all select member_id from replaced)))
           and changed_xid <> pg_current_xact_id();
    elsif tg_table_name = 'fktp_choice' then
        update family set changed_xid = pg_current_xact_id()
         where family_id = any (array(select m.family_id from member m where m.member_id in
                                          (select member_id from written)))
           and changed_xid <> pg_current_xact_id();
    elsif tg_op = 'UPDATE' then
        update family set changed_xid = pg_current_xact_id()
         where family_id = any (array(select family_id from written union all select family_id from replaced))
           and changed_xid <> pg_current_xact_id();
    else
        update family set changed_xid = pg_current_xact_id()
         where family_id = any (array(select family_id from written))
           and changed_xid <> pg_current_xact_id();
    end if;
    return null;
end $$;

create trigger family_is_kept before delete on family for each row execute function family_changed();

create trigger family_changed_by_insert after insert on family_terms
    referencing new table as written for each statement execute function family_changed();
create trigger family_changed_by_update after update on family_terms
    referencing old table as replaced new table as written for each statement execute function family_changed();
create trigger family_changed_by_delete after delete on family_terms
    referencing old table as written for each statement execute function family_changed();

create trigger family_changed_by_insert after insert on member
    referencing new table as written for each statement execute function family_changed();
create trigger family_changed_by_update after update on member
    referencing old table as replaced new table as written for each statement execute function family_changed();
create trigger family_changed_by_delete after delete on member
    referencing old table as written for each statement execute function family_changed();

create trigger family_changed_by_insert after insert on fktp_choice
    referencing new table as written for each statement execute function family_changed();
create trigger family_changed_by_update after update on fktp_choice
    referencing old table as replaced new table as written for each statement execute function family_changed();
create trigger family_changed_by_delete after delete on fktp_choice
    referencing old table as written for each statement execute function family_changed();

create trigger family_changed_by_insert after insert on contribution_posting
    referencing new table as written for each statement execute function family_changed();
create trigger family_changed_by_update after update on contribution_posting
    referencing old table as replaced new table as written for each statement execute function family_changed();
create trigger family_changed_by_delete after delete on contribution_posting
    referencing old table as written for each statement execute function family_changed();

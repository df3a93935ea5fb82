-- What was posted and what was published stands: TRUNCATE passes by the triggers for rows, so it is refused by the statement.
create function not_emptied() returns trigger language plpgsql as $$
begin
    raise exception '% is not emptied', tg_table_name
        using errcode = 'check_violation', constraint = 'not_emptied';
end $$;

create trigger not_emptied before truncate on ledger_entry for each statement execute function not_emptied();
create trigger not_emptied before truncate on ledger_line for each statement execute function not_emptied();
create trigger not_emptied before truncate on recovery for each statement execute function not_emptied();
create trigger not_emptied before truncate on recovery_offset for each statement execute function not_emptied();
create trigger not_emptied before truncate on audit_frame for each statement execute function not_emptied();
create trigger not_emptied before truncate on audit_stratum for each statement execute function not_emptied();
create trigger not_emptied before truncate on audit_frame_row for each statement execute function not_emptied();
create trigger not_emptied before truncate on audit_sample for each statement execute function not_emptied();
create trigger not_emptied before truncate on audit for each statement execute function not_emptied();
create trigger not_emptied before truncate on audit_finding for each statement execute function not_emptied();
create trigger not_emptied before truncate on audit_recovery for each statement execute function not_emptied();
create trigger not_emptied before truncate on coding_review for each statement execute function not_emptied();

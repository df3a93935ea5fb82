-- The last act of a transaction that makes writes, and of the relay's, which makes none: keeps keys with answers, and
-- gives events their positions in the feed, behind what waits in the outbox. Of several statements in a function each sees
-- what was committed before it: so the positions of whoever held the lock before are seen, and all in one round trip.
--
-- lock: key of the advisory lock of whoever gives positions.
-- patient: whether it is waited for, as long as lock_timeout allows. Who does not wait and does not get it leaves its events
-- in the outbox.
-- most: so many events of the outbox are moved at most; where more may wait, nothing is written behind them.
-- unchanged: whether what is written rests on what is still so; else nothing is.
create function conclude(
    lock bigint, patient boolean, most bigint, unchanged boolean,
    callers text[], request_ids text[], methods text[], request_hashes bytea[], responses bytea[],
    event_ids uuid[], kinds text[], subjects text[], traceparents text[], bodies bytea[],
    -- Newest position, and how many events were moved; null for who did not get the lock.
    out head bigint, out moved bigint,
    -- Whether events wait in the outbox.
    out waits boolean
) language plpgsql as $$
#variable_conflict use_column
begin
    if not unchanged then
        raise exception 'what the writes rest on was changed meanwhile' using errcode = 'serialization_failure';
    end if;
    insert into idempotency (caller, request_id, method, request_hash, response)
    select * from unnest(callers, request_ids, methods, request_hashes, responses);
    waits := true;
    -- Last of all: no key is waited for while nobody else can give positions.
    if patient then
        perform pg_advisory_xact_lock(lock);
    end if;
    if patient or pg_try_advisory_xact_lock(lock) then
        with newest as (
            select coalesce(max(position), 0) as position from feed
        ), waiting as (
            delete from outbox
            where ctid = any(array(select ctid from outbox order by outbox_id limit most))
            returning *
        ), relayed as (
            insert into feed (position, event_id, kind, subject, traceparent, body, occurred_at)
            select newest.position + row_number() over (order by outbox_id),
                   event_id, kind, subject, traceparent, body, occurred_at
            from waiting, newest
            returning 1
        ), since as (
            select newest.position + events as position, events, events >= most as more
            from newest, (select count(*) as events from relayed) as relayed
        ), written as (
            insert into feed (position, event_id, kind, subject, traceparent, body, occurred_at)
            select since.position + place, event.event_id, event.kind, event.subject, event.traceparent, event.body, now()
            from unnest(event_ids, kinds, subjects, traceparents, bodies) with ordinality
                 as event (event_id, kind, subject, traceparent, body, place), since
            where not more
            returning 1
        )
        select since.position + (select count(*) from written), events, more into head, moved, waits from since;
    end if;
    if waits then
        insert into outbox (event_id, kind, subject, traceparent, body)
        select event_id, kind, subject, traceparent, body
        from unnest(event_ids, kinds, subjects, traceparents, bodies) with ordinality
             as event (event_id, kind, subject, traceparent, body, place)
        order by place;
    end if;
end $$;

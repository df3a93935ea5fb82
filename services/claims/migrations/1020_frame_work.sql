-- Work on a frame that takes longer than a call: it is built, or a sample is drawn from it. A row stands here while that
-- is under way or stopped; each piece of it is a transaction that holds the row.
create table audit_frame_work (
    frame_id          uuid        primary key,
    kind              smallint    not null check (kind in (1, 2)),
    quarter           text        not null,
    salt              bytea       not null,
    asked_by          text        not null,
    asked_at          timestamptz not null,
    seed_source       text        not null,
    seed_at           timestamptz not null,
    -- Of the draw; null while the frame is built.
    seed              text,
    seed_published_at timestamptz,
    -- Stages and reasons have the numbers of the contract.
    stage             smallint    not null check (stage between 1 and 4),
    rows_done         bigint      not null default 0,
    -- Where the stage stands; only the service reads it.
    place             jsonb       not null,
    stopped           smallint    check (stopped between 1 and 3),
    constraint audit_frame_work_once unique (kind, quarter),
    check ((seed is null) = (stage < 3) and (seed is null) = (seed_published_at is null))
);

create trigger not_emptied before truncate on audit_frame_work for each statement execute function not_emptied();

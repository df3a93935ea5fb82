-- The integrations of the roadmap, seen in the traffic of the systems they join.

-- One side of an exchange that both sides must tell of, by the reference they share.
create table edge_side (
    edge        text        not null,
    side        text        not null,
    reference   text        not null,
    evidence    text        not null,
    seen_at     timestamptz not null,
    event       text        not null,
    primary key (edge, reference, side)
);

-- Exchanges that prove an edge; only the newest of each edge are kept.
create table edge_evidence (
    edge        text        not null,
    evidence_id text        not null,
    event       text        not null,
    seen_at     timestamptz not null,
    primary key (edge, evidence_id)
);
create index edge_evidence_by_age on edge_evidence (edge, seen_at desc);

-- All exchanges of an edge, counted.
create table edge (
    edge      text        primary key,
    exchanges bigint      not null,
    last_seen timestamptz not null
);

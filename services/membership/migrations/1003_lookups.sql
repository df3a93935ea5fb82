-- A family's payments are read in the order in which they were made, from the index alone.
create index contribution_posting_of_family
    on contribution_posting (family_id, paid_on, posted_at, posting_id) include (first_month, last_month);
drop index contribution_posting_by_family;

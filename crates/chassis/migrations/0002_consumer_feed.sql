-- Of which feed the position is. A feed that was made anew counts from 1 again: its events must not be skipped as if
-- they were those of the old one.
alter table consumer_position add column feed_id uuid;

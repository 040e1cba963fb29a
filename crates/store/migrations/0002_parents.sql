-- Records that are listed under a parent, such as the items of a subscription, are found by it.
alter table log add column parent_id text;
create index log_parent on log (lane, parent_id) where parent_id is not null;

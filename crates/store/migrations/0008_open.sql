-- Whether the journal is in use, or was when the process ended.
alter table journal add column is_open integer not null default 0;

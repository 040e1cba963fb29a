-- A checksum of what the entry says of its record; null where the entry is of an earlier version.
alter table log add column sum integer;

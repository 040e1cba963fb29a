-- Finds the purge entries of a stream among its other entries.
create index log_purge on log (kind) where kind = 2;

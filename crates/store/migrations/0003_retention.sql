-- Finds the purge entries of a stream among its other entries.
create index log_purge on log (kind) where kind = 2;

-- How old a consumer's oldest dead letter is.
create index dead_letter_died_at on dead_letter (consumer, died_at);

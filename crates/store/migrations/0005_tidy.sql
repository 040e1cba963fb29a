-- It repeats dead_letter_died_at.
drop index dead_letter_died;

-- What is not answered has no status; whether it is being worked on is known in memory.
update idempotency set status = null where status = 0;

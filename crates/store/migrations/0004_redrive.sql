-- What was dead at this time is to be delivered again, a part at a time.
alter table consumer add column redriving integer;
create index dead_letter_died on dead_letter (consumer, died_at);

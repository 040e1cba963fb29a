-- Dead letters are numbered in the order in which they died: by a clock that was set back it would be
-- another one. redriving is now the highest number of those that are to be delivered again.
create table dead_letter_numbered (
    no integer primary key autoincrement,
    consumer integer not null,
    record blob not null,
    idx integer not null,
    attempts integer not null,
    error text,
    died_at integer not null,
    unique (consumer, record)
);
insert into dead_letter_numbered (consumer, record, idx, attempts, error, died_at)
    select consumer, record, idx, attempts, error, died_at from dead_letter order by died_at;
update consumer set redriving = (
    select max(no) from dead_letter_numbered as dead
    where dead.consumer = consumer.no and dead.died_at <= consumer.redriving
) where redriving is not null;
drop table dead_letter;
alter table dead_letter_numbered rename to dead_letter;
create index dead_letter_record on dead_letter (record);
create index dead_letter_died_at on dead_letter (consumer, died_at);
create index dead_letter_no on dead_letter (consumer, no);

-- What consumers' states are ahead of these tables is in the journal, in generations; those up to
-- this one are in the tables.
create table journal (
    one integer primary key check (one = 1),
    written integer not null
);
insert into journal (one, written) values (1, 0);

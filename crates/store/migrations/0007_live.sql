-- Which indexes of a lane were in the log when that was last written down, as bitmaps.
create table live_summary (
    lane integer primary key,
    stream integer not null,
    last integer not null,
    present blob not null,
    tombstones blob not null
);
create index live_summary_stream on live_summary (stream);

-- What came and went since then, a row for each transaction.
create table live_change (
    no integer primary key,
    stream integer not null,
    moves blob not null
);
create index live_change_stream on live_change (stream);

-- Whether both are there: data from before them is read through its keys once.
create table live_known (
    one integer primary key check (one = 1)
);

-- Of runs before there was such a mark nobody knows how they ended.
update journal set is_open = 1;

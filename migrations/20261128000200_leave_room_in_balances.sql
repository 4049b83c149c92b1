-- A balance is changed in place, without its indexes, where its page has room for another version of the row.
alter table balances set (fillfactor = 70);

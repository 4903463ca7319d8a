-- A transaction that changes nothing, and is written all the same: SQLite would leave alone a row that stays as it is.
PRAGMA user_version = 0

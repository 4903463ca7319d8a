-- Each statement sees what is committed when it begins, whatever the default of the database is.
BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE

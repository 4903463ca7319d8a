-- The end of each transaction.
COMMIT

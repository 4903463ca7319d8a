-- Give a queue its number.
INSERT OR IGNORE INTO queue (prefix, name) VALUES (:prefix, :name)

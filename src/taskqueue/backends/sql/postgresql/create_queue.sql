-- Give a queue its number.
INSERT INTO taskqueue_queue (prefix, name) VALUES (:prefix, :name) ON CONFLICT (prefix, name) DO NOTHING

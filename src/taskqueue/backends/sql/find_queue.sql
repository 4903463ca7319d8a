-- The number of a queue in this file.
SELECT number FROM queue WHERE prefix = :prefix AND name = :name

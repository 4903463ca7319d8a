-- What was claimed by the last change.
SELECT count, told, content FROM answer

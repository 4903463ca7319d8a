-- Write down the version of the schema.
INSERT INTO taskqueue_meta (key, value) VALUES ('schema_version', :version)
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value

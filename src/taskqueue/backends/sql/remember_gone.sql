-- Remember ids that are let go.
INSERT OR REPLACE INTO gone (queue, id, gone_at) SELECT :queue, value, :now FROM json_each(:ids)

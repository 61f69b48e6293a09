-- Made from versions/0004_history.py by `python -m ostinato.store.migrate`: do not edit.

SET LOCAL lock_timeout = '2s';

DO $$ DECLARE bound bigint; BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'event'::regclass) = 'r' THEN
        SELECT (last_value / 1000000 + 2) * 1000000 INTO bound FROM event_id_seq;
        EXECUTE 'ALTER TABLE event DROP CONSTRAINT IF EXISTS event_bound,
            ADD CONSTRAINT event_bound CHECK (id < ' || bound || ') NOT VALID';
    END IF;
END $$;

COMMIT; BEGIN;

SET LOCAL lock_timeout = '2s';

DO $$ DECLARE bound bigint; BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'log'::regclass) = 'r' THEN
        SELECT (greatest(extract(epoch FROM now())::bigint * 1000000, max(first_at)) / 86400000000 + 2) * 86400000000
            INTO bound FROM log;
        EXECUTE 'ALTER TABLE log DROP CONSTRAINT IF EXISTS log_bound,
            ADD CONSTRAINT log_bound CHECK (first_at < ' || bound || ') NOT VALID';
    END IF;
END $$;

COMMIT; BEGIN;

SET LOCAL lock_timeout = '2s';

DO $$ BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'event'::regclass) = 'r' THEN
        ALTER TABLE event VALIDATE CONSTRAINT event_bound;
    END IF;
END $$;

COMMIT; BEGIN;

SET LOCAL lock_timeout = '2s';

DO $$ BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'log'::regclass) = 'r' THEN
        ALTER TABLE log VALIDATE CONSTRAINT log_bound;
    END IF;
END $$;

COMMIT; BEGIN;

SET LOCAL lock_timeout = '2s';

DO $$ DECLARE bound text; given bigint; called boolean; BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'event'::regclass) = 'r' THEN
        -- first what every commit takes first, lest one holds the sequence and waits for the table
        LOCK TABLE run IN ACCESS EXCLUSIVE MODE;
        LOCK TABLE event IN ACCESS EXCLUSIVE MODE;
        SELECT substring(pg_get_constraintdef(oid) FROM '[0-9]{4,}') INTO bound FROM pg_constraint
            WHERE conrelid = 'event'::regclass AND conname = 'event_bound';
        SELECT last_value, is_called INTO given, called FROM event_id_seq;
        ALTER TABLE event RENAME TO event_0;
        ALTER INDEX event_pkey RENAME TO event_0_pkey;
        ALTER INDEX event_run RENAME TO event_0_run_id_id_idx;
        ALTER INDEX event_key RENAME TO event_0_kind_key_id_idx;
        ALTER TABLE event_0 ALTER COLUMN id DROP IDENTITY;
        CREATE TABLE event (
            id BIGINT GENERATED ALWAYS AS IDENTITY,
            at BIGINT NOT NULL,
            kind TEXT NOT NULL,
            run_id TEXT COLLATE "C" NOT NULL,
            seq INTEGER,
            data TEXT NOT NULL,
            key TEXT COLLATE "C",
            PRIMARY KEY (id)
        ) PARTITION BY RANGE (id);
        CREATE INDEX event_run ON event (run_id, id);
        CREATE INDEX event_key ON event (kind, key, id) WHERE key IS NOT NULL;
        PERFORM setval('event_id_seq', given, called);
        EXECUTE 'ALTER TABLE event ATTACH PARTITION event_0 FOR VALUES FROM (MINVALUE) TO (' || bound || ')';
        ALTER TABLE event_0 DROP CONSTRAINT event_bound;
        CREATE TABLE event_default PARTITION OF event DEFAULT;
    END IF;
END $$;

COMMIT; BEGIN;

SET LOCAL lock_timeout = '2s';

DO $$ DECLARE bound text; BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'log'::regclass) = 'r' THEN
        LOCK TABLE log IN ACCESS EXCLUSIVE MODE;
        SELECT substring(pg_get_constraintdef(oid) FROM '[0-9]{4,}') INTO bound FROM pg_constraint
            WHERE conrelid = 'log'::regclass AND conname = 'log_bound';
        ALTER TABLE log RENAME TO log_0;
        ALTER INDEX log_pkey RENAME TO log_0_pkey;
        CREATE TABLE log (
            run_id TEXT COLLATE "C" NOT NULL,
            epoch INTEGER NOT NULL,
            n INTEGER NOT NULL,
            first_at BIGINT NOT NULL,
            last_at BIGINT NOT NULL,
            level INTEGER NOT NULL,
            lines BYTEA NOT NULL
        ) PARTITION BY RANGE (first_at);
        EXECUTE 'ALTER TABLE log ATTACH PARTITION log_0 FOR VALUES FROM (MINVALUE) TO (' || bound || ')';
        ALTER TABLE log_0 DROP CONSTRAINT log_bound;
        CREATE TABLE log_default PARTITION OF log DEFAULT;
        ALTER TABLE log_default ADD CONSTRAINT log_default_pkey PRIMARY KEY (run_id, epoch, n);
    END IF;
END $$;

COMMIT; BEGIN;

CREATE TABLE leftover (
    run_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id)
);

UPDATE alembic_version SET version_num = '0004';

-- Made from versions/0001_first.py by `python -m ostinato.store.migrate`: do not edit.

CREATE TABLE worker (
    id TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    host TEXT NOT NULL,
    pid BIGINT NOT NULL,
    pid_started TEXT NOT NULL,
    version TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE run (
    id TEXT COLLATE "C" NOT NULL,
    flow TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    recoveries INTEGER NOT NULL,
    lineage TEXT NOT NULL,
    parent_run_id TEXT COLLATE "C",
    parent_seq INTEGER,
    branch_of TEXT COLLATE "C",
    branch_cut TEXT NOT NULL,
    parameters BYTEA,
    target TEXT,
    cwd TEXT,
    code TEXT,
    tags TEXT NOT NULL,
    key TEXT,
    worker_id TEXT COLLATE "C",
    version TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    scheduled_at BIGINT,
    started_at BIGINT,
    finished_at BIGINT,
    cancel_requested_at BIGINT,
    result BYTEA,
    error TEXT,
    PRIMARY KEY (id),
    CONSTRAINT run_state CHECK (state IN ('scheduled', 'queued', 'running', 'waiting', 'retrying', 'succeeded', 'failed', 'crashed', 'cancelled', 'skipped'))
);

CREATE INDEX run_branch ON run (branch_of) WHERE branch_of IS NOT NULL;

CREATE INDEX run_created ON run (created_at, id);

CREATE INDEX run_finished ON run (finished_at, id) WHERE finished_at IS NOT NULL;

CREATE INDEX run_flow ON run (flow, created_at, id);

CREATE UNIQUE INDEX run_key ON run (flow, key) WHERE key IS NOT NULL;

CREATE INDEX run_open ON run (created_at, id) WHERE state IN ('scheduled', 'queued', 'running', 'waiting', 'retrying');

CREATE INDEX run_parent ON run (parent_run_id) WHERE parent_run_id IS NOT NULL;

CREATE INDEX run_worker ON run (worker_id) WHERE worker_id IS NOT NULL;

CREATE TABLE task_run (
    run_id TEXT COLLATE "C" NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    parent_seq INTEGER,
    kind TEXT NOT NULL,
    task TEXT NOT NULL,
    key TEXT NOT NULL,
    map_index INTEGER,
    partition TEXT,
    state TEXT NOT NULL,
    reason TEXT,
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    clears INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    inputs BYTEA,
    result BYTEA,
    result_fp BYTEA,
    error TEXT,
    upstream TEXT,
    code TEXT,
    child_run_id TEXT COLLATE "C",
    critical BOOLEAN NOT NULL,
    orphaned BOOLEAN NOT NULL,
    PRIMARY KEY (run_id, seq),
    CONSTRAINT task_run_state CHECK (state IN ('scheduled', 'queued', 'running', 'waiting', 'retrying', 'succeeded', 'failed', 'crashed', 'cancelled', 'skipped'))
);

CREATE TABLE attempt (
    run_id TEXT COLLATE "C" NOT NULL,
    seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    started_at BIGINT,
    finished_at BIGINT,
    error TEXT,
    code TEXT,
    PRIMARY KEY (run_id, seq, attempt, epoch),
    CONSTRAINT attempt_state CHECK (state IN ('scheduled', 'queued', 'running', 'waiting', 'retrying', 'succeeded', 'failed', 'crashed', 'cancelled', 'skipped'))
);

CREATE TABLE log (
    run_id TEXT COLLATE "C" NOT NULL,
    epoch INTEGER NOT NULL,
    n INTEGER NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    level INTEGER NOT NULL,
    lines BYTEA NOT NULL,
    PRIMARY KEY (run_id, epoch, n)
);

CREATE TABLE event (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    seq INTEGER,
    data TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX event_run ON event (run_id, id);

CREATE TABLE state_value (
    run_id TEXT COLLATE "C" NOT NULL,
    task_run_id TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    value BYTEA NOT NULL,
    PRIMARY KEY (run_id, task_run_id, name)
);

CREATE TABLE cache (
    key TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    task TEXT NOT NULL,
    seq INTEGER NOT NULL,
    result BYTEA NOT NULL,
    result_fp BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (key)
);

CREATE INDEX cache_expires ON cache (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE blob (
    hash TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (hash, run_id)
);

CREATE INDEX blob_run ON blob (run_id);

CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

INSERT INTO alembic_version (version_num) VALUES ('0001');

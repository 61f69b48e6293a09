-- Made from versions/0003_time_and_events.py by `python -m ostinato.store.migrate`: do not edit.

ALTER TABLE run ADD COLUMN gates TEXT;

ALTER TABLE run ADD COLUMN "trigger" TEXT;

ALTER TABLE event ADD COLUMN "key" TEXT;

CREATE INDEX event_key ON event (kind, "key", id) WHERE key IS NOT NULL;

ALTER TABLE wait ADD COLUMN "after" INTEGER DEFAULT '0' NOT NULL;

ALTER TABLE deployed ADD COLUMN kind TEXT DEFAULT 'flow' NOT NULL;

CREATE TABLE schedule (
    name TEXT NOT NULL,
    deployment TEXT NOT NULL,
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    spec TEXT NOT NULL,
    parameters TEXT NOT NULL,
    tags TEXT NOT NULL,
    paused BOOLEAN NOT NULL,
    since INTEGER NOT NULL,
    next_at INTEGER,
    read INTEGER NOT NULL,
    cursor TEXT,
    state TEXT NOT NULL,
    turn INTEGER NOT NULL,
    trouble TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (name)
);

CREATE INDEX schedule_due ON schedule (next_at, name) WHERE next_at IS NOT NULL AND NOT paused;

CREATE INDEX schedule_deployment ON schedule (deployment);

CREATE TABLE tick (
    schedule TEXT NOT NULL,
    "key" TEXT NOT NULL,
    scheduled_at INTEGER,
    at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT,
    run_id TEXT,
    data TEXT NOT NULL,
    PRIMARY KEY (schedule, "key")
);

CREATE INDEX tick_schedule ON tick (schedule, at);

CREATE INDEX tick_at ON tick (at);

CREATE TABLE ask (
    id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    flow TEXT NOT NULL,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    schema TEXT NOT NULL,
    whom TEXT,
    needed INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    state TEXT NOT NULL,
    answers TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX ask_open ON ask (created_at, id) WHERE state = 'open';

CREATE INDEX ask_expires ON ask (expires_at) WHERE state = 'open' AND expires_at IS NOT NULL;

CREATE INDEX ask_run ON ask (run_id);

CREATE TABLE webhook (
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    key_from TEXT,
    scheme TEXT NOT NULL,
    header TEXT,
    secret TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE delivery (
    webhook TEXT NOT NULL,
    mark TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (webhook, mark)
)
 WITHOUT ROWID;

CREATE INDEX delivery_at ON delivery (webhook, at);

CREATE TABLE concurrency_limit (
    name TEXT NOT NULL,
    slots INTEGER,
    rate FLOAT,
    burst INTEGER NOT NULL,
    weights TEXT NOT NULL,
    description TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE gate (
    id TEXT NOT NULL,
    limit_name TEXT NOT NULL,
    slots INTEGER,
    rate FLOAT,
    burst INTEGER NOT NULL,
    held INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    full_at INTEGER NOT NULL,
    next_at INTEGER,
    clock FLOAT NOT NULL,
    declared TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX gate_next ON gate (next_at) WHERE next_at IS NOT NULL;

CREATE INDEX gate_limit ON gate (limit_name);

CREATE TABLE share (
    gate TEXT NOT NULL,
    name TEXT NOT NULL,
    waiting INTEGER NOT NULL,
    clock FLOAT NOT NULL,
    weight FLOAT NOT NULL,
    PRIMARY KEY (gate, name)
)
 WITHOUT ROWID;

CREATE INDEX share_next ON share (gate, clock, name) WHERE waiting > 0;

CREATE TABLE passage (
    gate TEXT NOT NULL,
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    held BOOLEAN NOT NULL,
    share TEXT NOT NULL,
    rank INTEGER NOT NULL,
    since INTEGER NOT NULL,
    granted_at INTEGER,
    epoch INTEGER NOT NULL,
    rest TEXT,
    PRIMARY KEY (gate, run_id, seq)
);

CREATE INDEX passage_next ON passage (gate, share, rank, run_id, seq) WHERE NOT held;

CREATE INDEX passage_held ON passage (gate) WHERE held;

CREATE INDEX passage_run ON passage (run_id);

CREATE TABLE automation (
    name TEXT NOT NULL,
    project TEXT NOT NULL,
    spec TEXT NOT NULL,
    description TEXT NOT NULL,
    paused BOOLEAN NOT NULL,
    silenced_until INTEGER,
    state TEXT NOT NULL,
    next_at INTEGER,
    "after" INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    trouble TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (name)
);

CREATE INDEX automation_next ON automation (next_at) WHERE next_at IS NOT NULL AND NOT paused;

CREATE TABLE firing (
    id TEXT NOT NULL,
    automation TEXT NOT NULL,
    "key" TEXT NOT NULL,
    at INTEGER NOT NULL,
    state TEXT NOT NULL,
    data TEXT NOT NULL,
    progress TEXT NOT NULL,
    next_at INTEGER,
    acknowledged_at INTEGER,
    acknowledged_by TEXT,
    PRIMARY KEY (id)
);

CREATE INDEX firing_next ON firing (next_at) WHERE next_at IS NOT NULL;

CREATE INDEX firing_automation ON firing (automation, at);

CREATE INDEX firing_at ON firing (at);

CREATE TABLE reader (
    name TEXT NOT NULL,
    read INTEGER NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE deadline (
    run_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (run_id, kind)
)
 WITHOUT ROWID;

CREATE INDEX deadline_due ON deadline (due_at);

UPDATE alembic_version SET version_num = '0003';

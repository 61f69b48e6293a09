-- Made from versions/0003_time_and_events.py by `python -m ostinato.store.migrate`: do not edit.

ALTER TABLE run ADD COLUMN gates TEXT;

ALTER TABLE run ADD COLUMN trigger TEXT;

ALTER TABLE event ADD COLUMN key TEXT COLLATE "C";

CREATE INDEX event_key ON event (kind, key, id) WHERE key IS NOT NULL;

ALTER TABLE wait ADD COLUMN after BIGINT DEFAULT '0' NOT NULL;

ALTER TABLE deployed ADD COLUMN kind TEXT DEFAULT 'flow' NOT NULL;

CREATE TABLE schedule (
    name TEXT COLLATE "C" NOT NULL,
    deployment TEXT COLLATE "C" NOT NULL,
    project TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    spec TEXT NOT NULL,
    parameters TEXT NOT NULL,
    tags TEXT NOT NULL,
    paused BOOLEAN NOT NULL,
    since BIGINT NOT NULL,
    next_at BIGINT,
    read BIGINT NOT NULL,
    cursor TEXT,
    state TEXT NOT NULL,
    turn INTEGER NOT NULL,
    trouble TEXT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (name)
);

CREATE INDEX schedule_due ON schedule (next_at, name) WHERE next_at IS NOT NULL AND NOT paused;

CREATE INDEX schedule_deployment ON schedule (deployment);

CREATE TABLE tick (
    schedule TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    scheduled_at BIGINT,
    at BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT,
    run_id TEXT COLLATE "C",
    data TEXT NOT NULL,
    PRIMARY KEY (schedule, key)
);

CREATE INDEX tick_schedule ON tick (schedule, at);

CREATE INDEX tick_at ON tick (at);

CREATE TABLE ask (
    id TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    flow TEXT NOT NULL,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    schema TEXT NOT NULL,
    whom TEXT,
    needed INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    state TEXT NOT NULL,
    answers TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX ask_open ON ask (created_at, id) WHERE state = 'open';

CREATE INDEX ask_expires ON ask (expires_at) WHERE state = 'open' AND expires_at IS NOT NULL;

CREATE INDEX ask_run ON ask (run_id);

CREATE TABLE webhook (
    name TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    key_from TEXT,
    scheme TEXT NOT NULL,
    header TEXT,
    secret TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE delivery (
    webhook TEXT COLLATE "C" NOT NULL,
    mark TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (webhook, mark)
);

CREATE INDEX delivery_at ON delivery (webhook, at);

CREATE TABLE concurrency_limit (
    name TEXT COLLATE "C" NOT NULL,
    slots INTEGER,
    rate FLOAT,
    burst INTEGER NOT NULL,
    weights TEXT NOT NULL,
    description TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE gate (
    id TEXT COLLATE "C" NOT NULL,
    limit_name TEXT COLLATE "C" NOT NULL,
    slots INTEGER,
    rate FLOAT,
    burst INTEGER NOT NULL,
    held INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    full_at BIGINT NOT NULL,
    next_at BIGINT,
    clock FLOAT NOT NULL,
    declared TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX gate_next ON gate (next_at) WHERE next_at IS NOT NULL;

CREATE INDEX gate_limit ON gate (limit_name);

CREATE TABLE share (
    gate TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    waiting INTEGER NOT NULL,
    clock FLOAT NOT NULL,
    weight FLOAT NOT NULL,
    PRIMARY KEY (gate, name)
);

CREATE INDEX share_next ON share (gate, clock, name) WHERE waiting > 0;

CREATE TABLE passage (
    gate TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    seq INTEGER NOT NULL,
    held BOOLEAN NOT NULL,
    share TEXT COLLATE "C" NOT NULL,
    rank BIGINT NOT NULL,
    since BIGINT NOT NULL,
    granted_at BIGINT,
    epoch INTEGER NOT NULL,
    rest TEXT,
    PRIMARY KEY (gate, run_id, seq)
);

CREATE INDEX passage_next ON passage (gate, share, rank, run_id, seq) WHERE NOT held;

CREATE INDEX passage_held ON passage (gate) WHERE held;

CREATE INDEX passage_run ON passage (run_id);

CREATE TABLE automation (
    name TEXT COLLATE "C" NOT NULL,
    project TEXT COLLATE "C" NOT NULL,
    spec TEXT NOT NULL,
    description TEXT NOT NULL,
    paused BOOLEAN NOT NULL,
    silenced_until BIGINT,
    state TEXT NOT NULL,
    next_at BIGINT,
    after BIGINT NOT NULL,
    turn INTEGER NOT NULL,
    trouble TEXT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (name)
);

CREATE INDEX automation_next ON automation (next_at) WHERE next_at IS NOT NULL AND NOT paused;

CREATE TABLE firing (
    id TEXT COLLATE "C" NOT NULL,
    automation TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    state TEXT NOT NULL,
    data TEXT NOT NULL,
    progress TEXT NOT NULL,
    next_at BIGINT,
    acknowledged_at BIGINT,
    acknowledged_by TEXT,
    PRIMARY KEY (id)
);

CREATE INDEX firing_next ON firing (next_at) WHERE next_at IS NOT NULL;

CREATE INDEX firing_automation ON firing (automation, at);

CREATE INDEX firing_at ON firing (at);

CREATE TABLE reader (
    name TEXT COLLATE "C" NOT NULL,
    read BIGINT NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE deadline (
    run_id TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    PRIMARY KEY (run_id, kind)
);

CREATE INDEX deadline_due ON deadline (due_at);

UPDATE alembic_version SET version_num = '0003';

-- Made from versions/0002_fleet.py by `python -m ostinato.store.migrate`: do not edit.

ALTER TABLE worker ADD COLUMN pools TEXT DEFAULT '[]' NOT NULL;

ALTER TABLE worker ADD COLUMN slots INTEGER DEFAULT '0' NOT NULL;

ALTER TABLE worker ADD COLUMN resources TEXT DEFAULT '{}' NOT NULL;

ALTER TABLE worker ADD COLUMN roots TEXT DEFAULT '[]' NOT NULL;

ALTER TABLE worker ADD COLUMN draining BOOLEAN DEFAULT 0 NOT NULL;

ALTER TABLE run ADD COLUMN kind TEXT DEFAULT 'flow' NOT NULL;

ALTER TABLE run ADD COLUMN deployment TEXT;

ALTER TABLE run ADD COLUMN pool TEXT;

ALTER TABLE run ADD COLUMN queue TEXT DEFAULT 'default' NOT NULL;

ALTER TABLE run ADD COLUMN priority INTEGER DEFAULT '0' NOT NULL;

ALTER TABLE run ADD COLUMN resources TEXT;

ALTER TABLE run ADD COLUMN bundle TEXT;

ALTER TABLE run ADD COLUMN created_by TEXT;

ALTER TABLE run ADD COLUMN commits INTEGER DEFAULT '0' NOT NULL;

ALTER TABLE run ADD COLUMN awaited BOOLEAN DEFAULT 0 NOT NULL;

CREATE INDEX run_deployment ON run (deployment, created_at, id) WHERE deployment IS NOT NULL;

CREATE INDEX run_failed ON run (created_at, id) WHERE state IN ('failed', 'crashed', 'cancelled', 'skipped');

ALTER TABLE task_run ADD COLUMN due_at INTEGER;

CREATE TABLE ticket (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL,
    pool TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    deployment TEXT,
    paused BOOLEAN NOT NULL,
    resources TEXT,
    created_at INTEGER NOT NULL,
    why TEXT,
    CONSTRAINT ticket_run UNIQUE (run_id)
);

CREATE INDEX ticket_order ON ticket (pool, priority, id) WHERE NOT paused;

CREATE TABLE ticket_level (
    pool TEXT NOT NULL,
    priority INTEGER NOT NULL,
    PRIMARY KEY (pool, priority)
)
 WITHOUT ROWID;

CREATE TABLE wait (
    run_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    kind TEXT NOT NULL,
    "key" TEXT,
    seq INTEGER,
    due_at INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (run_id, n)
)
 WITHOUT ROWID;

CREATE INDEX wait_due ON wait (due_at) WHERE due_at IS NOT NULL;

CREATE INDEX wait_key ON wait ("key") WHERE key IS NOT NULL;

CREATE TABLE project (
    name TEXT NOT NULL,
    root TEXT NOT NULL,
    host TEXT NOT NULL,
    bundle TEXT,
    errors TEXT NOT NULL,
    python TEXT NOT NULL,
    version TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE deployed (
    name TEXT NOT NULL,
    flow TEXT NOT NULL,
    project TEXT NOT NULL,
    target TEXT NOT NULL,
    pool TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    parameters TEXT NOT NULL,
    schema TEXT NOT NULL,
    blueprint TEXT,
    resources TEXT,
    options TEXT NOT NULL,
    description TEXT NOT NULL,
    tags TEXT NOT NULL,
    code TEXT,
    code_policy TEXT NOT NULL,
    bundle TEXT,
    paused BOOLEAN NOT NULL,
    broken TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE pool (
    name TEXT NOT NULL,
    slots INTEGER,
    paused BOOLEAN NOT NULL,
    description TEXT NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE queue (
    pool TEXT NOT NULL,
    name TEXT NOT NULL,
    priority INTEGER NOT NULL,
    paused BOOLEAN NOT NULL,
    PRIMARY KEY (pool, name)
);

CREATE TABLE user_account (
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    disabled BOOLEAN NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE token (
    id TEXT NOT NULL,
    hash TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    user TEXT,
    pools TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    PRIMARY KEY (id),
    CONSTRAINT token_hash UNIQUE (hash)
);

CREATE TABLE secret (
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE duty (
    name TEXT NOT NULL,
    holder TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE fits_from (
    revision TEXT NOT NULL
);

INSERT INTO fits_from (revision) VALUES ('0001');

UPDATE alembic_version SET version_num = '0002';

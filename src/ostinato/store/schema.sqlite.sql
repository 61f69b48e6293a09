-- Made from schema.py by `python -m ostinato.store.migrate`: do not edit.

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

CREATE INDEX schedule_deployment ON schedule (deployment);

CREATE INDEX schedule_due ON schedule (next_at, name) WHERE next_at IS NOT NULL AND NOT paused;

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

CREATE INDEX tick_at ON tick (at);

CREATE INDEX tick_schedule ON tick (schedule, at);

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

CREATE INDEX ask_expires ON ask (expires_at) WHERE state = 'open' AND expires_at IS NOT NULL;

CREATE INDEX ask_open ON ask (created_at, id) WHERE state = 'open';

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

CREATE INDEX gate_limit ON gate (limit_name);

CREATE INDEX gate_next ON gate (next_at) WHERE next_at IS NOT NULL;

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

CREATE INDEX passage_held ON passage (gate) WHERE held;

CREATE INDEX passage_next ON passage (gate, share, rank, run_id, seq) WHERE NOT held;

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

CREATE INDEX firing_at ON firing (at);

CREATE INDEX firing_automation ON firing (automation, at);

CREATE INDEX firing_next ON firing (next_at) WHERE next_at IS NOT NULL;

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

CREATE TABLE leftover (
	run_id TEXT NOT NULL,
	PRIMARY KEY (run_id)
)
 WITHOUT ROWID;

CREATE TABLE worker (
	id TEXT NOT NULL,
	kind TEXT NOT NULL,
	host TEXT NOT NULL,
	pid INTEGER NOT NULL,
	pid_started TEXT NOT NULL,
	version TEXT NOT NULL,
	started_at INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	pools TEXT DEFAULT '[]' NOT NULL,
	slots INTEGER DEFAULT '0' NOT NULL,
	resources TEXT DEFAULT '{}' NOT NULL,
	roots TEXT DEFAULT '[]' NOT NULL,
	draining BOOLEAN DEFAULT 0 NOT NULL,
	PRIMARY KEY (id)
)
 WITHOUT ROWID;

CREATE TABLE run (
	id TEXT NOT NULL,
	flow TEXT NOT NULL,
	state TEXT NOT NULL,
	reason TEXT,
	epoch INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	recoveries INTEGER NOT NULL,
	lineage TEXT NOT NULL,
	parent_run_id TEXT,
	parent_seq INTEGER,
	branch_of TEXT,
	branch_cut TEXT NOT NULL,
	parameters BLOB,
	target TEXT,
	cwd TEXT,
	code TEXT,
	tags TEXT NOT NULL,
	"key" TEXT,
	worker_id TEXT,
	version TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	scheduled_at INTEGER,
	started_at INTEGER,
	finished_at INTEGER,
	cancel_requested_at INTEGER,
	result BLOB,
	error TEXT,
	kind TEXT DEFAULT 'flow' NOT NULL,
	deployment TEXT,
	pool TEXT,
	queue TEXT DEFAULT 'default' NOT NULL,
	priority INTEGER DEFAULT '0' NOT NULL,
	resources TEXT,
	bundle TEXT,
	created_by TEXT,
	commits INTEGER DEFAULT '0' NOT NULL,
	awaited BOOLEAN DEFAULT 0 NOT NULL,
	gates TEXT,
	"trigger" TEXT,
	PRIMARY KEY (id),
	CONSTRAINT run_state CHECK (state IN ('scheduled', 'queued', 'running', 'waiting', 'retrying', 'succeeded', 'failed', 'crashed', 'cancelled', 'skipped'))
);

CREATE INDEX run_branch ON run (branch_of) WHERE branch_of IS NOT NULL;

CREATE INDEX run_created ON run (created_at, id);

CREATE INDEX run_deployment ON run (deployment, created_at, id) WHERE deployment IS NOT NULL;

CREATE INDEX run_failed ON run (created_at, id) WHERE state IN ('failed', 'crashed', 'cancelled', 'skipped');

CREATE INDEX run_finished ON run (finished_at, id) WHERE finished_at IS NOT NULL;

CREATE INDEX run_flow ON run (flow, created_at, id);

CREATE UNIQUE INDEX run_key ON run (flow, "key") WHERE key IS NOT NULL;

CREATE INDEX run_open ON run (created_at, id) WHERE state IN ('scheduled', 'queued', 'running', 'waiting', 'retrying');

CREATE INDEX run_parent ON run (parent_run_id) WHERE parent_run_id IS NOT NULL;

CREATE INDEX run_worker ON run (worker_id) WHERE worker_id IS NOT NULL;

CREATE TABLE task_run (
	run_id TEXT NOT NULL,
	seq INTEGER NOT NULL,
	id TEXT NOT NULL,
	parent_seq INTEGER,
	kind TEXT NOT NULL,
	task TEXT NOT NULL,
	"key" TEXT NOT NULL,
	map_index INTEGER,
	partition TEXT,
	state TEXT NOT NULL,
	reason TEXT,
	epoch INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	failures INTEGER NOT NULL,
	clears INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	started_at INTEGER,
	finished_at INTEGER,
	inputs BLOB,
	result BLOB,
	result_fp BLOB,
	error TEXT,
	upstream TEXT,
	code TEXT,
	child_run_id TEXT,
	critical BOOLEAN NOT NULL,
	orphaned BOOLEAN NOT NULL,
	due_at INTEGER,
	PRIMARY KEY (run_id, seq),
	CONSTRAINT task_run_state CHECK (state IN ('scheduled', 'queued', 'running', 'waiting', 'retrying', 'succeeded', 'failed', 'crashed', 'cancelled', 'skipped'))
);

CREATE TABLE attempt (
	run_id TEXT NOT NULL,
	seq INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	epoch INTEGER NOT NULL,
	state TEXT NOT NULL,
	reason TEXT,
	started_at INTEGER,
	finished_at INTEGER,
	error TEXT,
	code TEXT,
	PRIMARY KEY (run_id, seq, attempt, epoch),
	CONSTRAINT attempt_state CHECK (state IN ('scheduled', 'queued', 'running', 'waiting', 'retrying', 'succeeded', 'failed', 'crashed', 'cancelled', 'skipped'))
);

CREATE TABLE log (
	run_id TEXT NOT NULL,
	epoch INTEGER NOT NULL,
	n INTEGER NOT NULL,
	first_at INTEGER NOT NULL,
	last_at INTEGER NOT NULL,
	level INTEGER NOT NULL,
	lines BLOB NOT NULL,
	PRIMARY KEY (run_id, epoch, n)
);

CREATE TABLE event (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	at INTEGER NOT NULL,
	kind TEXT NOT NULL,
	run_id TEXT NOT NULL,
	seq INTEGER,
	data TEXT NOT NULL,
	"key" TEXT
);

CREATE INDEX event_key ON event (kind, "key", id) WHERE key IS NOT NULL;

CREATE INDEX event_run ON event (run_id, id);

CREATE TABLE state_value (
	run_id TEXT NOT NULL,
	task_run_id TEXT NOT NULL,
	name TEXT NOT NULL,
	value BLOB NOT NULL,
	PRIMARY KEY (run_id, task_run_id, name)
);

CREATE TABLE cache (
	"key" TEXT NOT NULL,
	run_id TEXT NOT NULL,
	task TEXT NOT NULL,
	seq INTEGER NOT NULL,
	result BLOB NOT NULL,
	result_fp BLOB NOT NULL,
	created_at INTEGER NOT NULL,
	expires_at INTEGER,
	PRIMARY KEY ("key")
);

CREATE INDEX cache_expires ON cache (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE blob (
	hash TEXT NOT NULL,
	run_id TEXT NOT NULL,
	PRIMARY KEY (hash, run_id)
)
 WITHOUT ROWID;

CREATE INDEX blob_run ON blob (run_id);

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
	"after" INTEGER DEFAULT '0' NOT NULL,
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
	kind TEXT DEFAULT 'flow' NOT NULL,
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

CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

INSERT INTO alembic_version (version_num) VALUES ('0004');
INSERT INTO fits_from (revision) VALUES ('0001');
PRAGMA application_id = 1332966505;

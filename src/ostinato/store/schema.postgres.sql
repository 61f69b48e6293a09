-- Made from schema.py by `python -m ostinato.store.migrate`: do not edit.

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

CREATE INDEX schedule_deployment ON schedule (deployment);

CREATE INDEX schedule_due ON schedule (next_at, name) WHERE next_at IS NOT NULL AND NOT paused;

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

CREATE INDEX tick_at ON tick (at);

CREATE INDEX tick_schedule ON tick (schedule, at);

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

CREATE INDEX ask_expires ON ask (expires_at) WHERE state = 'open' AND expires_at IS NOT NULL;

CREATE INDEX ask_open ON ask (created_at, id) WHERE state = 'open';

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

CREATE INDEX gate_limit ON gate (limit_name);

CREATE INDEX gate_next ON gate (next_at) WHERE next_at IS NOT NULL;

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

CREATE INDEX passage_held ON passage (gate) WHERE held;

CREATE INDEX passage_next ON passage (gate, share, rank, run_id, seq) WHERE NOT held;

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

CREATE INDEX firing_at ON firing (at);

CREATE INDEX firing_automation ON firing (automation, at);

CREATE INDEX firing_next ON firing (next_at) WHERE next_at IS NOT NULL;

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

CREATE TABLE leftover (
	run_id TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (run_id)
);

CREATE TABLE worker (
	id TEXT COLLATE "C" NOT NULL,
	kind TEXT NOT NULL,
	host TEXT NOT NULL,
	pid BIGINT NOT NULL,
	pid_started TEXT NOT NULL,
	version TEXT NOT NULL,
	started_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	pools TEXT DEFAULT '[]' NOT NULL,
	slots INTEGER DEFAULT '0' NOT NULL,
	resources TEXT DEFAULT '{}' NOT NULL,
	roots TEXT DEFAULT '[]' NOT NULL,
	draining BOOLEAN DEFAULT false NOT NULL,
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
	kind TEXT DEFAULT 'flow' NOT NULL,
	deployment TEXT COLLATE "C",
	pool TEXT COLLATE "C",
	queue TEXT COLLATE "C" DEFAULT 'default' NOT NULL,
	priority INTEGER DEFAULT '0' NOT NULL,
	resources TEXT,
	bundle TEXT,
	created_by TEXT,
	commits INTEGER DEFAULT '0' NOT NULL,
	awaited BOOLEAN DEFAULT false NOT NULL,
	gates TEXT,
	trigger TEXT,
	PRIMARY KEY (id),
	CONSTRAINT run_state CHECK (state IN ('scheduled', 'queued', 'running', 'waiting', 'retrying', 'succeeded', 'failed', 'crashed', 'cancelled', 'skipped'))
);

CREATE INDEX run_branch ON run (branch_of) WHERE branch_of IS NOT NULL;

CREATE INDEX run_created ON run (created_at, id);

CREATE INDEX run_deployment ON run (deployment, created_at, id) WHERE deployment IS NOT NULL;

CREATE INDEX run_failed ON run (created_at, id) WHERE state IN ('failed', 'crashed', 'cancelled', 'skipped');

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
	due_at BIGINT,
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
	lines BYTEA NOT NULL
)
 PARTITION BY RANGE (first_at);

CREATE TABLE event (
	id BIGINT GENERATED ALWAYS AS IDENTITY,
	at BIGINT NOT NULL,
	kind TEXT NOT NULL,
	run_id TEXT COLLATE "C" NOT NULL,
	seq INTEGER,
	data TEXT NOT NULL,
	key TEXT COLLATE "C",
	PRIMARY KEY (id)
)
 PARTITION BY RANGE (id);

CREATE INDEX event_key ON event (kind, key, id) WHERE key IS NOT NULL;

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

CREATE TABLE ticket (
	id BIGINT GENERATED ALWAYS AS IDENTITY,
	run_id TEXT COLLATE "C" NOT NULL,
	pool TEXT COLLATE "C" NOT NULL,
	queue TEXT COLLATE "C" NOT NULL,
	priority INTEGER NOT NULL,
	deployment TEXT COLLATE "C",
	paused BOOLEAN NOT NULL,
	resources TEXT,
	created_at BIGINT NOT NULL,
	why TEXT,
	PRIMARY KEY (id),
	CONSTRAINT ticket_run UNIQUE (run_id)
);

CREATE INDEX ticket_order ON ticket (pool, priority, id) WHERE NOT paused;

CREATE TABLE ticket_level (
	pool TEXT COLLATE "C" NOT NULL,
	priority INTEGER NOT NULL,
	PRIMARY KEY (pool, priority)
);

CREATE TABLE wait (
	run_id TEXT COLLATE "C" NOT NULL,
	n INTEGER NOT NULL,
	kind TEXT NOT NULL,
	key TEXT COLLATE "C",
	seq INTEGER,
	due_at BIGINT,
	created_at BIGINT NOT NULL,
	after BIGINT DEFAULT '0' NOT NULL,
	PRIMARY KEY (run_id, n)
);

CREATE INDEX wait_due ON wait (due_at) WHERE due_at IS NOT NULL;

CREATE INDEX wait_key ON wait (key) WHERE key IS NOT NULL;

CREATE TABLE project (
	name TEXT COLLATE "C" NOT NULL,
	root TEXT NOT NULL,
	host TEXT NOT NULL,
	bundle TEXT,
	errors TEXT NOT NULL,
	python TEXT NOT NULL,
	version TEXT NOT NULL,
	updated_at BIGINT NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE deployed (
	name TEXT COLLATE "C" NOT NULL,
	flow TEXT NOT NULL,
	project TEXT COLLATE "C" NOT NULL,
	target TEXT NOT NULL,
	pool TEXT COLLATE "C" NOT NULL,
	queue TEXT COLLATE "C" NOT NULL,
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
	updated_at BIGINT NOT NULL,
	kind TEXT DEFAULT 'flow' NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE pool (
	name TEXT COLLATE "C" NOT NULL,
	slots INTEGER,
	paused BOOLEAN NOT NULL,
	description TEXT NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE queue (
	pool TEXT COLLATE "C" NOT NULL,
	name TEXT COLLATE "C" NOT NULL,
	priority INTEGER NOT NULL,
	paused BOOLEAN NOT NULL,
	PRIMARY KEY (pool, name)
);

CREATE TABLE user_account (
	name TEXT COLLATE "C" NOT NULL,
	role TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	disabled BOOLEAN NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE token (
	id TEXT COLLATE "C" NOT NULL,
	hash TEXT COLLATE "C" NOT NULL,
	name TEXT NOT NULL,
	role TEXT NOT NULL,
	"user" TEXT COLLATE "C",
	pools TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	expires_at BIGINT,
	revoked_at BIGINT,
	PRIMARY KEY (id),
	CONSTRAINT token_hash UNIQUE (hash)
);

CREATE TABLE secret (
	name TEXT COLLATE "C" NOT NULL,
	value BYTEA NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE duty (
	name TEXT COLLATE "C" NOT NULL,
	holder TEXT NOT NULL,
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE fits_from (
	revision TEXT NOT NULL
);


CREATE TABLE event_0 PARTITION OF event FOR VALUES FROM (MINVALUE) TO (2000000);
CREATE TABLE event_default PARTITION OF event DEFAULT;
DO $$ BEGIN
    EXECUTE 'CREATE TABLE log_0 PARTITION OF log FOR VALUES FROM (MINVALUE) TO ('
        || ((extract(epoch FROM now())::bigint / 86400 + 2) * 86400000000) || ')';
END $$;
CREATE TABLE log_default PARTITION OF log DEFAULT;
ALTER TABLE log_0 ADD CONSTRAINT log_0_pkey PRIMARY KEY (run_id, epoch, n);
ALTER TABLE log_default ADD CONSTRAINT log_default_pkey PRIMARY KEY (run_id, epoch, n);

CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

INSERT INTO alembic_version (version_num) VALUES ('0004');
INSERT INTO fits_from (revision) VALUES ('0001');

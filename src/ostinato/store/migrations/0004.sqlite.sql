-- Made from versions/0004_history.py by `python -m ostinato.store.migrate`: do not edit.

CREATE TABLE leftover (
    run_id TEXT NOT NULL,
    PRIMARY KEY (run_id)
)
 WITHOUT ROWID;

UPDATE alembic_version SET version_num = '0004';

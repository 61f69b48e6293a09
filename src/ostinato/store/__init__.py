"""Where runs live: the `Store` Protocol, and SQLite and PostgreSQL behind it. Start at `store.py`."""

"""How a run gets its process. See `subprocesses.py`."""

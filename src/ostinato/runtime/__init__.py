r"""The runtime: it drives the engine's decisions for the runs of one process.

```
start.py ──► session.py   this process as a worker: store, lease, executors, timers
                 │
             runner.py    one run: implements the `Runtime` Protocol that tasks call
            /    │    \
 arguments.py  drive.py  feeder.py     futures in, fingerprints out · three drivers of a life · maps, lazily
                 │    \
           attempt.py  journal.py      user code runs here, and only here · group commit
```

A run that only waits is seen by `standstill.py`; `sending.py` and `line.py` reach other runs, `lookout.py` hears of
their ends; `claimed.py` is what a worker's process calls.
"""

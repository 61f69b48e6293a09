"""The engine: how a run survives anything, told in one page. Everything below is pure: no I/O, no clock.

**A flow is ordinary Python, and its body is simply run again** after a crash, a wait or a retry. What makes
that cheap and safe is that every call of a task has an *identity* (`identity.py`):

    task_run_id = H(lineage of the run, id of the calling task run, task key, call key)
    call key    = (fingerprint of the inputs' content, n-th such call in this body), or the user's own key

On the new pass a call looks itself up in the *memo* (`memo.py`), the task runs that the store remembers. One
that succeeded gives its stored result; one that failed for good raises its recorded exception; anything else
runs. Nothing is found by its position, so calls may be reordered, inserted, removed or made from many threads
at once. A changed argument is a miss, never a crash. What the new pass did not reach is *orphaned*, and shown.

**One task run's life is a generator of commands** (`lifecycle.py`):

    live(row, rules, upstream) ──yields──► Acquire(gates) ─► Execute(row) ─► Save(entries) ─► Pause(seconds) ─► …
                               ◄──sends──  what came of it

It decides; whoever drives it acts. The runtime has three drivers for the same generator: one that blocks
the calling thread, one on asyncio, one on callbacks that holds no thread while it waits. Sync and async
tasks, direct calls, submits and maps are therefore one implementation, and a test can play the whole life by
hand.

**Nothing is believed before it is committed.** `Save` answers only when the row is durable, and only then is
the result handed on. Callers that arrive while a commit is under way share the next one. A start is not
waited for: it rides on whatever commit comes next.

**A run belongs to one process at a time.** Whoever takes it raises its *epoch*; every commit carries the epoch
and is refused whole if it is old, or if the worker's lease has ended. So a process that was stopped and comes
back cannot write, and a dead one is seen within seconds.

**Clearing is the one way back.** Terminal states absorb (`ostinato.states`). `resume`, `retry`, `rerun` and `fork`
(`clearing.py`) choose which task runs are run again, under a new epoch; all others are found in the memo. A task run
that was cleared only because of what it depends on keeps its result when that turns out unchanged.

Read on in this order: `ostinato.states`, `identity.py`, `memo.py`, `rules.py`, `lifecycle.py`, `clearing.py`, then
`ostinato.store.store` (the Protocol) and `ostinato.runtime`.
"""

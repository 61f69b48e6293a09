"""Simulation: what runs when, played under a virtual clock before it happens. Nothing is started, nothing is written.

```
store, or a project that is scanned ─ gather ─► Scene: deployments, schedules, limits, pools, what the past was like
Scene, Span, Crew ─ Play: instants in order ─► Outlook: runs, queues, lateness, what binds ─► table, JSON, chart
                     │ the same decisions as a server's: runtime/ticking, runtime/consuming, engine/turnstiles
```

Reading order: `scene`, `past`, `play`, `desk`, `meter`, `outlook`; then `gather`, `chart`, `drawing`.
"""

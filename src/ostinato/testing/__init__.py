"""Virtual time for tests: schedules, sensors, waits, retries and automations pass without anybody waiting.

```python
def test_a_year():
    with virtual_time("2026-01-01") as world:
        world.deploy(report)
        world.run_until("2027-01-01")
        assert len(world.runs("report")) == 365
```

Flows run for real, in this process, through the real engine and a real store, which is thrown away afterwards; only
the clock is moved by hand. Reading order: `world`, `carrying`, `duties`, `views`.
"""

from ostinato.testing.evaluating import Judged, evaluate_automation, evaluate_sensor
from ostinato.testing.views import Notification, WorldRun
from ostinato.testing.world import World, virtual_time

__all__ = [
    "Judged",
    "Notification",
    "World",
    "WorldRun",
    "evaluate_automation",
    "evaluate_sensor",
    "virtual_time",
]

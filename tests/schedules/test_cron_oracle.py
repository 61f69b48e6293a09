"""`Cron` against an oracle that walks every real minute, over every change of the clocks."""

from __future__ import annotations

import random
import zoneinfo
from datetime import UTC, datetime, timedelta

import pytest
from tests.schedules.oracle import Expression, Shown, changes, fires, walk

from ostinato.clock import instant_of
from ostinato.errors import DefinitionError
from ostinato.schedules import Cron, When, instants, next_after, previous_before

EXPRESSIONS = [
    *(
        "* * * * *",
        "*/5 * * * *",
        "7 * * * *",
        "0,30 * * * *",
        "*/7 * * * *",
        "59 * * * *",
        "@hourly",
        "15,45 0-23 * * *",
    ),
    *("0 0 * * *", "@daily", "30 0 * * *", "0 1 * * *", "30 1 * * *", "45 1 * * *", "0 2 * * *", "1 2 * * *"),
    *(
        "15 2 * * *",
        "30 2 * * *",
        "59 2 * * *",
        "0 3 * * *",
        "30 3 * * *",
        "0,30 2 * * *",
        "*/10 2 * * *",
        "0 2,3 * * *",
    ),
    *(
        "*/20 1-3 * * *",
        "* 2 * * *",
        "* 0-3 * * *",
        "59 23 * * *",
        "30 23 * * *",
        "*/15 23 * * *",
        "0 4 * * *",
        "0 12 * * *",
    ),
    *(
        "0 */2 * * *",
        "30 */2 * * *",
        "0 */6 * * *",
        "0 0-22 * * *",
        "*/30 1-23 * * *",
        "0 22-4 * * *",
        "*/15 23-1 * * *",
    ),
    *(
        "0 2 * * SUN",
        "30 2 * * 0",
        "30 2 * * 7",
        "30 2 * * MON-FRI",
        "0 0 * * FRI-MON",
        "30 0 * * 5-7",
        "0 3 * * SAT,SUN",
    ),
    *(
        "30 2 L * *",
        "30 2 * * 7L",
        "30 2 * 3 SUN#5",
        "0 1 * 3,10 SUN",
        "0 0 1 * *",
        "30 2 25-31 3,10 *",
        "0 2 8-14 3 */7",
    ),
    *(
        "0 6 LW * *",
        "0 0 30 * *",
        "30 1 30W * *",
        "0 0 29 12 *",
        "0 0 31 DEC ?",
        "15 0 ? * SAT",
        "0 0 1-7 * SUN",
        "0 0 L-1 * *",
    ),
    *("0 2 5 4 *", "30 1 * APR-OCT *", "*/10 0,1 * * 0,6", "5/20 2 * * *", "0 1/3 * * *"),
]
ZONES = {
    "Europe/Oslo": (2025, 2027),
    "America/New_York": (2025, 2027),
    "Australia/Lord_Howe": (2025, 2027),
    "Africa/Casablanca": (2025, 2027),
    "America/Santiago": (2025, 2027),
    "Asia/Amman": (2019, 2022),  # it has none in 2025-2027; before, its gap was at midnight
    "Pacific/Apia": (2011, 2011),
    "America/Havana": (2025, 2025),  # falls back to midnight
    "Antarctica/Troll": (2025, 2025),  # two hours
}


NEVER = {
    ("30 2 * 3 SUN#5", "Europe/Oslo"),
    ("30 2 * 3 SUN#5", "Antarctica/Troll"),
    ("0 2 8-14 3 */7", "America/New_York"),
}
"""A fifth Sunday in March, and a second one, is when the clocks are put forward there, always."""


def made(expression: str, zone: str, dst: str) -> Cron:
    return Cron(expression, timezone=zone, dst=dst)  # type: ignore[arg-type]


def windows(zone: str) -> list[datetime]:
    return changes(zone, *ZONES[zone])


@pytest.mark.parametrize("zone", ZONES)
def test_cron_agrees_with_the_oracle_over_each_change_of_the_clocks(zone: str) -> None:
    found = windows(zone)
    assert len(found) >= 2
    chance = random.Random(zone)
    for change in found:
        begin, end = change - timedelta(hours=30), change + timedelta(hours=30)
        minutes = list(walk(zone, begin, end))
        for expression in EXPRESSIONS:
            for dst in ("once", "each", "skip"):
                expected = fires(expression, dst, minutes)
                if dst != "once" and (expression, zone) in NEVER:
                    assert not expected
                    with pytest.raises(DefinitionError, match="never fires with this dst"):
                        made(expression, zone, dst)
                else:
                    compare(made(expression, zone, dst), expected, minutes, chance)


def test_cron_in_amman_and_utc_has_no_changes_left_to_err_about() -> None:
    for zone in ("Asia/Amman", "UTC"):
        assert changes(zone, 2025, 2027) == []
        minutes = list(walk(zone, datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC)))
        for expression in EXPRESSIONS:
            compare(Cron(expression, timezone=zone), fires(expression, "once", minutes), minutes, random.Random(1))


def compare(schedule: When, expected: list[int], minutes: list[Shown], chance: random.Random, points: int = 8) -> None:
    """Compare all instants in a window, forwards and backwards, and what comes next at some moments in it."""
    first, last = minutes[0].instant, minutes[-1].instant
    assert list(instants(schedule, first - 1, last, limit=len(expected) + 1)) == expected, schedule
    backwards, at = [], last + 1
    while (found := previous_before(schedule, at)) is not None and found >= first:
        assert found < at, schedule
        backwards.append(at := found)
    assert backwards[::-1] == expected, schedule
    for _ in range(points):
        at = chance.choice(minutes).instant + chance.choice((0, 0, 1, -1, 31_000_000))
        following = next((one for one in expected if one > at), None)
        preceding = next((one for one in reversed(expected) if one < at), None)
        found = next_after(schedule, at)
        assert (found if found is not None and found <= last else None) == following, (schedule, at)
        found = previous_before(schedule, at)
        assert (found if found is not None and found >= first else None) == preceding, (schedule, at)


# --- by chance


def some_field(chance: random.Random, low: int, high: int, star: float) -> str:
    if chance.random() < star:
        return chance.choice(("*", "*", f"*/{chance.randint(2, max(2, (high - low) // 2))}"))
    terms = []
    for _ in range(chance.choice((1, 1, 2, 3))):
        one, other = chance.randint(low, high), chance.randint(low, high)
        terms.append(chance.choice((f"{one}", f"{one}", f"{one}-{other}", f"{one}-{other}/2", f"{min(one, other)}/3")))
    return ",".join(terms)


def some_expression(chance: random.Random) -> str:
    monthday = chance.choice(
        ("*", "*", "*", "?", "L", "LW", "L-2", f"{chance.randint(1, 31)}W", some_field(chance, 1, 31, 0.4))
    )
    names = (
        "*",
        "*",
        "*",
        "?",
        "MON-FRI",
        "FRI-MON",
        "SAT,7",
        "0",
        f"{chance.randint(0, 7)}L",
        f"{chance.randint(0, 7)}#2",
    )
    hour = chance.choice((some_field(chance, 0, 23, 0.4), some_field(chance, 0, 4, 0), "0,1,2,3", "23-2"))
    month = chance.choice(("*", "*", "*", "*", "JAN-NOV", "NOV-APR", some_field(chance, 1, 12, 0.5)))
    return " ".join((some_field(chance, 0, 59, 0.4), hour, monthday, month, chance.choice(names)))


def fuzz(seed: int, count: int) -> int:
    """Compare by chance; return how often anything fired."""
    chance = random.Random(seed)
    zones = sorted(zone for zone in zoneinfo.available_timezones() if zone not in {"localtime", "Factory"})
    fired = 0
    while count:
        zone, year = chance.choice(zones), chance.randint(1975, 2036)
        expression, dst = some_expression(chance), chance.choice(("once", "once", "each", "skip"))
        near = changes(zone, year, year) if chance.random() < 0.7 else []
        middle = (
            chance.choice(near) if near else datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=chance.randint(0, 8700))
        )
        begin = middle + timedelta(minutes=chance.randint(-1800, 300))
        minutes = list(walk(zone, begin, begin + timedelta(hours=34)))
        if (
            not any(Expression.of(expression).fits_day(one.wall.date()) for one in minutes[:: 12 * 60])
            and chance.random() < 0.8
        ):
            continue  # nothing could fire here: such are a few only
        expected = fires(expression, dst, minutes)
        fired += bool(expected)
        try:
            schedule = made(expression, zone, dst)
        except DefinitionError:
            assert not expected
            continue
        compare(schedule, expected, minutes, chance, points=5)
        count -= 1
    return fired


@pytest.mark.parametrize("seed", [1, 2])
def test_cron_agrees_with_the_oracle_by_chance(seed: int) -> None:
    assert fuzz(seed, 100) > 60


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 20))
def test_cron_agrees_with_the_oracle_by_chance_for_long(seed: int) -> None:
    assert fuzz(seed, 200) > 120


def test_days_of_a_month_agree_with_the_oracle_over_years() -> None:
    chance = random.Random(5)
    texts = [
        f"0 0 {part}" for part in ("LW * *", "1W * *", "15W * *", "31W * *", "L-3 * *", "* * MON#5", "* * 6L", "29 2 *")
    ]
    texts += [f"0 0 {' '.join(some_expression(chance).split()[2:])}" for _ in range(60)]
    day = datetime(2023, 1, 1, tzinfo=UTC)
    days = [day + timedelta(days=count) for count in range(6 * 366)]
    for text in texts:
        expected = [instant_of(one) for one in days if Expression.of(text).fits_day(one.date())]
        if not expected:
            continue
        found = list(instants(Cron(text), instant_of(days[0]) - 1, instant_of(days[-1])))
        assert found == expected, text

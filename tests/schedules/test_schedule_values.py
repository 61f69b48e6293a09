"""The values: what they refuse, how they combine, their options, their JSON and their words."""

# ruff: noqa: DTZ001  # wall times have no zone

from __future__ import annotations

import builtins
import importlib
import pickle
import subprocess
import sys
import time
import zoneinfo
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato import flow, task
from ostinato.clock import instant_of, to_datetime
from ostinato.errors import DefinitionError, UsageError
from ostinato.schedules import (
    At,
    Calendar,
    Cron,
    Every,
    On,
    RRule,
    When,
    business_days,
    delay_of,
    describe,
    from_spec,
    happens,
    instants,
    kind_of,
    next_after,
    parts,
    previous_before,
    refusal,
    schedules_of,
    to_spec,
    walltime,
)
from ostinato.schedules.recurrence import _dateutil

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = instant_of(datetime(2026, 9, 21, 14, 13, 20))
DAILY = Cron("0 6 * * *", timezone="Europe/Oslo")


def times(schedule: When, count: int = 3, after: int = NOW) -> list[str]:
    return [f"{to_datetime(one):%m-%d %H:%M:%S}" for one in instants(schedule, after, limit=count)]


# --- what is refused


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("61 * * * *", "the minute 61 is not in 0 to 59. For example '*/15'"),
        ("* 24 * * *", "the hour 24 is not in 0 to 23"),
        ("* * 0 * *", "the day of the month 0 is not in 1 to 31"),
        ("* * * 13 *", "the month 13 is not in 1 to 12"),
        ("* * * * 8", "the day of the week 8 is not in 0 to 7"),
        ("* * * * MOO", "the day of the week 'MOO' is not a number from 0 to 7 or one of SUN.* Did you mean 'MON'"),
        ("* * * JANUARY *", "the month 'JANUARY' is not a number from 1 to 12 or one of JAN"),
        ("70 * * * * *", "the second 70 is not in 0 to 59"),
        ("*/0 * * * *", "the minute has the step '0', which is not a number from 1"),
        ("*/x * * * *", "the minute has the step 'X'"),
        ("1,,2 * * * *", "the minute lacks a value"),
        ("-1 * * * *", "the minute '-1' is not a number"),
        ("5- * * * *", "the minute '5-' is not a number"),
        ("? * * * *", 'the minute cannot be "?"'),
        ("0 0 L-40 * *", "the day of the month 40 is not in 0 to 27"),
        ("0 0 W * *", "the day of the month 'W' is not a number"),
        ("0 0 * * MON#6", "needs a number from 1 to 5 after #"),
        ("0 0 * * L", '"L" lacks a day: write "5L"'),
        ("* * * *", "has 4 fields. It takes five"),
        ("", "has 0 fields"),
        ("* * * * * * *", "has 7 fields"),
        ("@dayly", "Did you mean '@daily'"),
        ("@reboot", "nothing starts with a machine here"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 2,4,6,9,11 *", "never fires"),
        ("²  0 * * *", "the minute '²' is not a number"),
        (None, "takes a text such as"),
    ],
)
def test_cron_of_nonsense_is_refused_with_the_field_what_is_wrong_and_an_example(expression: Any, says: str) -> None:
    with pytest.raises(
        DefinitionError, match=says.replace("*/15", r"\*/15").replace("?", r"\?").replace('"\\?"', '"."')
    ):
        Cron(expression)


MAKES: list[tuple[Callable[[], Any], str]] = [
    (lambda: Cron("0 6 * * *", timezone="Europe/oslo"), "no time zone 'Europe/oslo'. Did you mean 'Europe/Oslo'"),
    (lambda: Cron("0 6 * * *", timezone="Oslo"), "Did you mean 'Europe/Oslo'"),
    (lambda: Cron("0 6 * * *", timezone="Europa/Oslo"), "Did you mean 'Europe/Oslo'"),
    (lambda: Cron("0 6 * * *", timezone="../etc/passwd"), "There is no time zone"),
    (lambda: Cron("0 6 * * *", timezone="America"), "There is no time zone 'America'"),
    (lambda: Cron("0 6 * * *", timezone=None), "timezone must be a name"),  # type: ignore[arg-type]
    (lambda: Cron("0 6 * * *", dst="twice"), "dst=...\\) must be one of"),  # type: ignore[arg-type]
    (lambda: Cron("0 6 * * *", catchup="al"), "Did you mean 'all'"),  # type: ignore[arg-type]
    (lambda: Cron("0 6 * * *", jitter=-1), "jitter=...\\) must be seconds, 0 or more"),
    (lambda: Cron("0 6 * * *", jitter=float("nan")), "jitter=...\\) must be seconds"),
    (lambda: Cron("0 6 * * *", name="a/b"), "name=...\\) must be letters"),
    (lambda: Cron("0 6 * * *", name="2"), "name=...\\) must be letters"),
    (lambda: Cron("0 6 * * *", start="2026-01-01"), "start=...\\) must be a datetime"),  # type: ignore[arg-type]
    (lambda: Cron("0 6 * * *", start=datetime(2026, 2, 1), end=datetime(2026, 1, 1)), "end, .* is before its start"),
    (
        lambda: Cron("0 0 2 1 *", start=datetime(2026, 1, 3), end=datetime(2026, 2, 1)),
        "never fires with this start and end",
    ),
    (lambda: Cron("0 0 * * 6", calendar=business_days()), "never fires with this calendar"),
    (lambda: Cron("0 6 * * *", calendar="NO"), "must be a Calendar"),  # type: ignore[arg-type]
    (lambda: Cron("0 6 * * *", tags="x"), "tags=...\\) must be a list of texts"),
    (lambda: Every(seconds=-5), "must be a second or longer, got -5 s"),
    (Every, "must be a second or longer, got 0 s"),
    (lambda: Every(seconds=0.5), "must be a second or longer, got 0.5 s"),
    (lambda: Every(seconds="5"), "takes numbers, or a timedelta"),  # type: ignore[arg-type]
    (lambda: Every(days=10**12), "takes numbers, or a timedelta"),
    (lambda: At([]), "never fires; it takes a list of datetimes"),
    (lambda: At(["2026-01-01"]), "moments=...\\) must be a datetime"),  # type: ignore[list-item]
    (lambda: On("run.failed"), 'say of which flow, as in On\\("flow:load", states=\\["failed"\\]\\)'),
    (lambda: On(""), "takes the kind of an event"),
    (lambda: On(task(lambda: 1)), "takes the kind of an event .* or a flow"),
    (lambda: On("x", states=["failed"]), "only the runs of a flow have states"),
    (lambda: On("flow:x", states=["faild"]), "Did you mean 'failed'"),  # type: ignore[list-item]
    (lambda: On("flow:x", key="k"), "only events that users emit have a key"),
    (lambda: On("x", policy="bach"), "Did you mean 'batch'"),  # type: ignore[arg-type]
    (lambda: On("x", policy="batch"), "needs size="),
    (lambda: On("x", policy="window"), "needs window="),
    (lambda: On("x", size=3), 'is for policy="batch"'),
    (lambda: On("x", window=3), 'is for policy="batch" and "window"'),
    (lambda: On("x", policy="window", window=0), "longer than nothing"),
    (lambda: On("x", policy="batch", size=0), "1 or more"),
    (lambda: On("x", calendar=business_days(roll="next")), "can only leave days out"),
    (lambda: DAILY | 3, "& and | combine schedules"),  # type: ignore[operator]
    (lambda: DAILY.with_options(parameters={"x": 1}) | DAILY, "parameters= is about runs"),
    (lambda: DAILY & On("x", jitter=3), "jitter= is about runs"),
    (lambda: (DAILY & On("x")).with_options(calendar=business_days(roll="next")), "can only leave days out"),
    (lambda: schedules_of("0 6 * * *"), "Write Cron\\('0 6 \\* \\* \\*'\\)"),
    (lambda: schedules_of([DAILY.with_options(name="a"), Every(hours=1, name="a")]), "Two schedules are called 'a'"),
]


@pytest.mark.parametrize(("make", "says"), MAKES, ids=[says for _, says in MAKES])
def test_a_schedule_that_makes_no_sense_is_refused_when_it_is_made(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(DefinitionError, match=says.replace("& and |", "& and .")):
        make()


def test_a_machine_without_time_zones_is_told_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    with pytest.raises(DefinitionError, match="no time zone database. Install it with: pip install tzdata"):
        walltime.zone("Europe/Nowhere")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *rest: Any) -> Any:
        if name in {"dateutil.rrule", "holidays"}:
            raise ImportError(name)
        return importlib.__import__(name, *rest)

    _dateutil.cache_clear()
    monkeypatch.setattr(importlib, "import_module", missing)
    monkeypatch.setattr(builtins, "__import__", missing)
    try:
        for make in (lambda: RRule("FREQ=DAILY"), lambda: business_days("LI")):
            with pytest.raises(UsageError, match=r"pip install 'ostinato\[calendars\]'"):
                make()
    finally:
        monkeypatch.undo()
        _dateutil.cache_clear()


# --- when they fire


def test_cron_of_six_fields_begins_with_the_second() -> None:
    assert times(Cron("*/20 * * * * *")) == ["09-21 14:13:40", "09-21 14:14:00", "09-21 14:14:20"]
    assert times(Cron("30 0 6 * * MON")) == ["09-28 06:00:30", "10-05 06:00:30", "10-12 06:00:30"]
    assert to_datetime(previous_before(Cron("*/20 * * * * *"), NOW) or 0).second == 0


def test_cron_of_seconds_follows_the_clocks_change() -> None:
    gap = datetime(2026, 3, 29, 1, tzinfo=UTC)  # 02:00 becomes 03:00 in Oslo
    schedule = Cron("0,30 59 1,2 * * *", timezone="Europe/Oslo")
    after = instant_of(gap - timedelta(seconds=45))
    assert [to_datetime(one) for one in instants(schedule, after, limit=2)] == [gap - timedelta(seconds=30), gap]


def test_both_wall_times_of_one_gap_fire_once() -> None:
    schedule = Cron("0,30 2 * * *", timezone="Europe/Oslo")
    begin, end = instant_of(datetime(2026, 3, 28, 12)), instant_of(datetime(2026, 3, 29, 12))
    assert [to_datetime(one) for one in instants(schedule, begin, end)] == [datetime(2026, 3, 29, 1, tzinfo=UTC)]


def test_a_day_that_a_zone_has_lost_runs_when_the_next_begins() -> None:
    schedule = Cron("0 6 * * *", timezone="Pacific/Apia")
    begin = instant_of(datetime(2011, 12, 29, 0))
    found = [
        to_datetime(one).astimezone(zoneinfo.ZoneInfo("Pacific/Apia")) for one in instants(schedule, begin, limit=4)
    ]
    assert [f"{one:%m-%d %H:%M}" for one in found] == ["12-29 06:00", "12-31 00:00", "12-31 06:00", "01-01 06:00"]
    skipping = Cron("0 6 * * *", timezone="Pacific/Apia", dst="skip")
    assert len(list(instants(skipping, begin, instant_of(datetime(2011, 12, 31, 12))))) == 2


def test_every_counts_from_its_anchor_in_both_directions() -> None:
    assert times(Every(minutes=5)) == ["09-21 14:15:00", "09-21 14:20:00", "09-21 14:25:00"]
    anchored = Every(timedelta(hours=7), anchor=datetime(2027, 1, 1))
    assert (instant_of(datetime(2027, 1, 1)) - (next_after(anchored, NOW) or 0)) % (7 * 3600 * 10**6) == 0
    oslo = Every(hours=24, start=datetime(2026, 9, 1, 6), timezone="Europe/Oslo")
    assert times(oslo, 1) == ["09-22 04:00:00"]
    assert previous_before(oslo, instant_of(datetime(2026, 9, 1, 4))) is None


def test_start_and_end_are_both_included() -> None:
    schedule = DAILY.with_options(start=datetime(2026, 9, 25, 6), end=datetime(2026, 9, 26, 4, tzinfo=UTC))
    assert times(schedule) == ["09-25 04:00:00", "09-26 04:00:00"]
    assert previous_before(schedule, instant_of(datetime(2026, 9, 25, 4))) is None
    assert previous_before(schedule, instant_of(datetime(2030, 1, 1))) == instant_of(datetime(2026, 9, 26, 4))


def test_at_moves_a_moment_in_a_gap_and_fires_each_once() -> None:
    moments = [datetime(2026, 3, 29, 2, 30), datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 2, 30)]
    schedule = At(moments, timezone="Europe/Oslo")
    assert times(schedule, 5, 0) == ["03-29 01:00:00", "10-25 00:30:00"]
    both = At(moments, timezone="Europe/Oslo", dst="each")
    assert times(both, 5, 0) == ["03-29 01:00:00", "10-25 00:30:00", "10-25 01:30:00"]
    assert previous_before(both, NOW + 10**14) == instant_of(datetime(2026, 10, 25, 1, 30))
    assert previous_before(both, instant_of(datetime(2026, 10, 25, 1, 30))) == instant_of(datetime(2026, 10, 25, 0, 30))


def test_an_instant_of_a_distant_age_has_an_answer() -> None:
    for at in (-(10**18), 10**18, -(2**62), 2**62):
        next_after(DAILY, at)
        previous_before(DAILY, at)
    assert next_after(DAILY, 10**18) is None
    assert previous_before(DAILY, -(10**18)) is None


def test_next_after_is_quick_when_it_is_warm() -> None:
    specs = [to_spec(Cron(f"{n % 60} {n % 24} * * {n % 7}", timezone="Europe/Oslo")) for n in range(500)]
    for spec in specs:
        next_after(from_spec(spec), NOW)
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        for spec in specs:
            next_after(from_spec(spec), NOW)
        best = min(best, (time.perf_counter() - began) / len(specs))
    assert best < 50e-6


def test_jitter_is_the_same_for_the_same_instant_and_spread_over_others() -> None:
    schedule = DAILY.with_options(jitter=60)
    found = [delay_of(schedule, "a", at) for at in range(1000)]
    assert found == [delay_of(schedule, "a", at) for at in range(1000)]
    assert 0 <= min(found) < 2_000_000
    assert 58_000_000 < max(found) <= 60_000_000
    assert found != [delay_of(schedule, "b", at) for at in range(1000)]
    assert delay_of(DAILY, "a", 5) == 0


# --- combinations


def test_either_of_two_times_is_time_and_what_coincides_fires_once() -> None:
    either = Cron("0 * * * *") | Every(minutes=30)
    assert kind_of(either) == "time"
    assert times(either) == ["09-21 14:30:00", "09-21 15:00:00", "09-21 15:30:00"]
    assert len((either | DAILY).of) == 3


def test_kinds_tell_what_a_schedule_is_driven_by() -> None:
    event = On("landed")
    assert [kind_of(one) for one in (DAILY, event, DAILY | event, DAILY & DAILY, (DAILY & event) | DAILY)] == [
        "time",
        "event",
        "condition",
        "condition",
        "condition",
    ]
    assert next_after(event, NOW) is None
    assert next_after(DAILY & event, NOW) == next_after(DAILY, NOW)


def test_a_condition_fires_once_each_part_has_happened_since_it_fired_last() -> None:
    condition = On("a") & On("b") & On("c")
    assert list(parts(condition)) == ["0", "1", "2"]
    assert play(condition, "0 0 1 0 2 2 0 1") == [4, 7]


def test_a_nested_condition_remembers_each_and_on_its_own() -> None:
    condition = (On("a") & On("b")) | (On("c") & (On("d") | On("e")))
    assert list(parts(condition)) == ["0.0", "0.1", "1.0", "1.1.0", "1.1.1"]
    #                         0   1     2   3   4   5   6     7
    assert play(condition, "0.0 1.1.1 1.0 0.1 0.1 1.0 1.1.0 0.0") == [2, 3, 6, 7]


def play(condition: When, path: str) -> list[int]:
    """Have parts happen one after the other; return at which of them it fired."""
    memory: frozenset[str] = frozenset()
    fired = []
    for at, part in enumerate(path.split()):
        fires, memory = happens(condition, memory, part)
        if fires:
            fired.append(at)
    return fired


def test_options_of_a_combination_are_of_the_whole() -> None:
    whole = (DAILY | Every(hours=1)).with_options(name="n", parameters={"x": 1}, start=datetime(2026, 9, 21, 15))
    assert (whole.name, dict(whole.parameters)) == ("n", {"x": 1})
    assert times(whole, 1) == ["09-21 15:00:00"]
    assert refusal(whole, NOW) == "it begins at 2026-09-21 15:00:00"
    assert refusal(whole, NOW + 10**10) is None


def test_on_counts_the_events_that_are_meant() -> None:
    @flow
    def load() -> None: ...

    end = On(load, states=["failed", "crashed"])
    assert (end.what, end.flow, end.kinds) == ("flow:load", "load", ("run.failed", "run.crashed"))
    assert end.matches("run.failed", key=None, flow="load")
    assert not end.matches("run.failed", key=None, flow="other")
    assert not end.matches("run.succeeded", key=None, flow="load")
    assert On(load) == On("flow:load", states=["succeeded"])
    keyed = On("orders", key="eu")
    assert keyed.matches("orders", key="eu", flow=None)
    assert not keyed.matches("orders", key="us", flow=None)
    assert On("orders").matches("orders", key="us", flow="load")


# --- as values


def test_schedules_are_values() -> None:
    same = Cron("0 6 * * *", timezone="Europe/Oslo")
    assert (same, hash(same)) == (DAILY, hash(DAILY))
    assert len({same, DAILY, Every(minutes=5), Every(seconds=300)}) == 2
    assert pickle.loads(pickle.dumps(DAILY)) == DAILY
    assert DAILY.with_options(paused=True) != DAILY


def test_importing_the_values_loads_nothing_heavy() -> None:
    script = (
        "import sys, ostinato.schedules; print([m for m in ('pydantic', 'dateutil', 'holidays') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


moments = st.datetimes(datetime(2000, 1, 1), datetime(2050, 1, 1)).map(lambda one: one.replace(microsecond=0))
zones = st.sampled_from(["UTC", "Europe/Oslo", "Australia/Lord_Howe", "America/Santiago"])
options = st.fixed_dictionaries(
    {},
    optional={
        "timezone": zones,
        "jitter": st.sampled_from([1, 2.5, timedelta(minutes=3)]),
        "start": moments | moments.map(lambda one: one.replace(tzinfo=UTC)),
        "catchup": st.sampled_from(["all", "none", "last"]),
        "calendar": st.sampled_from([Calendar(days="MON-FRI"), business_days("NO", roll="next")]),
    },
)
timed = st.one_of(
    st.builds(
        lambda e, dst, o: Cron(e, dst=dst, **o),
        st.sampled_from(["0 6 * * *", "@hourly"]),
        st.sampled_from(["once", "skip"]),
        options,
    ),
    st.builds(lambda s, o: Every(seconds=s, **o), st.integers(1, 10**7) | st.just(1.5), options),
    st.builds(At, st.lists(moments, min_size=1, max_size=3)),
    st.builds(lambda r, o: RRule(r, **o), st.sampled_from(["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO"]), options),
)
events = st.sampled_from(
    [On("a"), On("a", key="k"), On("flow:x", states=["failed"]), On("b", policy="batch", size=3, window=60)]
)


@settings(max_examples=150, deadline=None)
@given(timed | events)
def test_json_gives_the_same_value_again(schedule: When) -> None:
    text = to_spec(schedule)
    assert from_spec(text) == schedule
    assert to_spec(from_spec(text)) == text
    plain = schedule.with_options(jitter=0, catchup="last")
    combined = (plain & On("z")) | plain
    assert from_spec(to_spec(combined)) == combined
    assert describe(combined)


def test_json_can_be_read_by_people_and_leaves_out_what_the_row_has() -> None:
    schedule = DAILY.with_options(name="n", parameters={"x": 1}, tags=["t"], paused=True, jitter=30)
    assert to_spec(schedule) == '{"cron":"0 6 * * *","timezone":"Europe/Oslo","jitter":30}'
    assert to_spec(Every(minutes=5) | On("a")) == '{"any":[{"every":300},{"on":"a"}]}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "must be JSON"),
        ("[]", "is an object such as"),
        ("{}", "has one of cron, every"),
        ('{"cron": "0 6 * * *", "every": 3}', "has one of cron, every"),
        ('{"cron": "0 6 * * *", "timezon": "UTC"}', "has no 'timezon'.*Did you mean 'timezone'"),
        ('{"cron": 3}', "takes a text"),
        ('{"every": "x"}', "unsupported type"),
        ('{"every": 1e300}', "cannot be"),
        ('{"at": 3}', "not iterable"),
        ('{"at": ["tomorrow"]}', "A moment is like"),
        ('{"any": []}', "two schedules or more"),
        ('{"any": [3, 4]}', "is an object such as"),
        ('{"cron": "0 6 * * *", "calendar": {"contry": "NO"}}', "Did you mean 'country'"),
        ('{"cron": "0 6 * * *", "calendar": {"not_on": ["x"]}}', "A calendar cannot be"),
        ('{"on": "x", "size": "3"}', "must be a number of events"),
        ('{"rrule": null}', "takes a text"),
    ],
)
def test_json_of_nonsense_is_refused(text: str, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        from_spec(text)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (Cron("0 6 * * MON-FRI", timezone="Europe/Oslo"), "at 06:00 on Monday to Friday, Europe/Oslo"),
        (Cron("0 6 * * 1-5"), "at 06:00 on Monday to Friday, UTC"),
        (Cron("* * * * *"), "every minute, UTC"),
        (Cron("*/15 9-17 * * *"), "every 15 minutes in the hours 9 to 17, UTC"),
        (Cron("30 * * * *"), "at minute 30 of every hour, UTC"),
        (Cron("@hourly"), "every hour, UTC"),
        (Cron("0 6,18 1,15 * *"), "at 06:00 and 18:00 on the 1st and 15th, UTC"),
        (Cron("0 0 L JAN-MAR,12 ?"), "at 00:00 on the last day of the month in January to March and December, UTC"),
        (Cron("0 9 * * MON#2,5L"), "at 09:00 on the second Monday and the last Friday, UTC"),
        (Cron("0 0 1-7 * SUN"), "at 00:00 on the 1st to 7th, and on Sunday, UTC"),
        (Cron("0 0 */2 * SUN"), "at 00:00 on the 1st and every 2nd day after it, if it is Sunday, UTC"),
        (Cron("0 0 15W * *"), "at 00:00 on the day from Monday to Friday nearest to the 15th, UTC"),
        (Cron("*/10 * * * * *"), "every 10 seconds, UTC"),
        (Cron("15 30 6 * * *"), "at 06:30:15, UTC"),
        (Every(minutes=5), "every 5 minutes"),
        (Every(hours=24), "every day"),
        (Every(seconds=90), "every 90 seconds"),
        (On("landed", key="eu"), "when 'landed' happens with the key 'eu'"),
        (On("flow:load"), "when load has succeeded"),
        (On("x", policy="batch", size=10, window=60), "when 'x' happens, in batches of 10 or after a minute"),
        (Cron("0 6 * * *") & On("x"), "at 06:00, UTC and when 'x' happens"),
        (
            Cron("0 6 * * *", calendar=business_days("NO", roll="next")),
            "at 06:00, UTC, only on Monday to Friday without holidays of NO, moved to the next such day",
        ),
        (At([datetime(2026, 12, 24, 16)]), "at 2026-12-24 16:00, UTC"),
    ],
)
def test_words_say_when_it_fires(schedule: When, words: str) -> None:
    assert describe(schedule) == words


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789*/,-LW#?MONFRI ", max_size=24))
def test_words_and_errors_cover_every_expression(text: str) -> None:
    try:
        schedule = Cron(text)
    except DefinitionError:
        return
    assert describe(schedule).endswith(", UTC")
    assert from_spec(to_spec(schedule)) == schedule

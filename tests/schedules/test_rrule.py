"""`RRule`: the examples of RFC 5545, section 3.8.5.3, and agreement with python-dateutil."""

# ruff: noqa: DTZ001  # wall times have no zone

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from tests.schedules.oracle import MONTHS

from ostinato.clock import instant_of, to_datetime
from ostinato.errors import DefinitionError
from ostinato.schedules import Cron, RRule, instants, next_after, previous_before

NEW_YORK = ZoneInfo("America/New_York")
START = datetime(1997, 9, 2, 9)


def days(text: str, hour: str = "9:00") -> list[datetime]:
    """Read ``1997: Sep 2-11; 1998: Jan 1,5``: the days of the RFC's examples, at an hour in New York."""
    found = []
    h, m = (int(part) for part in hour.split(":"))
    for year_text in text.split(";"):
        year, _, months = year_text.partition(":")
        for month_text in months.strip().split(" / "):
            month, _, numbers = month_text.partition(" ")
            for term in numbers.split(","):
                first, _, last = term.partition("-")
                number = MONTHS.index(month.upper()) + 1
                among = range(int(first), int(last or first) + 1)
                found += [datetime(int(year), number, day, h, m, tzinfo=NEW_YORK) for day in among]
    return found


EXAMPLES = [
    ("FREQ=DAILY;COUNT=10", START, "1997: Sep 2-11", True),
    ("FREQ=DAILY;UNTIL=19971224T000000Z", START, "1997: Sep 2-30 / Oct 1-31 / Nov 1-30 / Dec 1-23", True),
    ("FREQ=DAILY;INTERVAL=2", START, "1997: Sep 2,4,6,8,10,12,14,16,18,20,22,24,26,28,30 / Oct 2,4,6", False),
    ("FREQ=DAILY;INTERVAL=10;COUNT=5", START, "1997: Sep 2,12,22 / Oct 2,12", True),
    (
        "FREQ=YEARLY;UNTIL=20000131T140000Z;BYMONTH=1;BYDAY=SU,MO,TU,WE,TH,FR,SA",
        datetime(1998, 1, 1, 9),
        "1998: Jan 1-31; 1999: Jan 1-31; 2000: Jan 1-31",
        True,
    ),
    (
        "FREQ=DAILY;UNTIL=20000131T140000Z;BYMONTH=1",
        datetime(1998, 1, 1, 9),
        "1998: Jan 1-31; 1999: Jan 1-31; 2000: Jan 1-31",
        True,
    ),
    ("FREQ=WEEKLY;COUNT=10", START, "1997: Sep 2,9,16,23,30 / Oct 7,14,21,28 / Nov 4", True),
    (
        "FREQ=WEEKLY;UNTIL=19971224T000000Z",
        START,
        "1997: Sep 2,9,16,23,30 / Oct 7,14,21,28 / Nov 4,11,18,25 / Dec 2,9,16,23",
        True,
    ),
    (
        "FREQ=WEEKLY;INTERVAL=2;WKST=SU",
        START,
        "1997: Sep 2,16,30 / Oct 14,28 / Nov 11,25 / Dec 9,23; 1998: Jan 6,20 / Feb 3,17",
        False,
    ),
    (
        "FREQ=WEEKLY;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH",
        START,
        "1997: Sep 2,4,9,11,16,18,23,25,30 / Oct 2",
        True,
    ),
    ("FREQ=WEEKLY;COUNT=10;WKST=SU;BYDAY=TU,TH", START, "1997: Sep 2,4,9,11,16,18,23,25,30 / Oct 2", True),
    (
        "FREQ=WEEKLY;INTERVAL=2;UNTIL=19971224T000000Z;WKST=SU;BYDAY=MO,WE,FR",
        datetime(1997, 9, 1, 9),
        "1997: Sep 1,3,5,15,17,19,29 / Oct 1,3,13,15,17,27,29,31 / Nov 10,12,14,24,26,28 / Dec 8,10,12,22",
        True,
    ),
    ("FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH", START, "1997: Sep 2,4,16,18,30 / Oct 2,14,16", True),
    (
        "FREQ=MONTHLY;COUNT=10;BYDAY=1FR",
        datetime(1997, 9, 5, 9),
        "1997: Sep 5 / Oct 3 / Nov 7 / Dec 5; 1998: Jan 2 / Feb 6 / Mar 6 / Apr 3 / May 1 / Jun 5",
        True,
    ),
    (
        "FREQ=MONTHLY;UNTIL=19971224T000000Z;BYDAY=1FR",
        datetime(1997, 9, 5, 9),
        "1997: Sep 5 / Oct 3 / Nov 7 / Dec 5",
        True,
    ),
    (
        "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU",
        datetime(1997, 9, 7, 9),
        "1997: Sep 7,28 / Nov 2,30; 1998: Jan 4,25 / Mar 1,29 / May 3,31",
        True,
    ),
    (
        "FREQ=MONTHLY;COUNT=6;BYDAY=-2MO",
        datetime(1997, 9, 22, 9),
        "1997: Sep 22 / Oct 20 / Nov 17 / Dec 22; 1998: Jan 19 / Feb 16",
        True,
    ),
    (
        "FREQ=MONTHLY;BYMONTHDAY=-3",
        datetime(1997, 9, 28, 9),
        "1997: Sep 28 / Oct 29 / Nov 28 / Dec 29; 1998: Jan 29 / Feb 26",
        False,
    ),
    (
        "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15",
        START,
        "1997: Sep 2,15 / Oct 2,15 / Nov 2,15 / Dec 2,15; 1998: Jan 2,15",
        True,
    ),
    (
        "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1",
        datetime(1997, 9, 30, 9),
        "1997: Sep 30 / Oct 1,31 / Nov 1,30 / Dec 1,31; 1998: Jan 1,31 / Feb 1",
        True,
    ),
    (
        "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15",
        datetime(1997, 9, 10, 9),
        "1997: Sep 10-15; 1999: Mar 10-13",
        True,
    ),
    (
        "FREQ=MONTHLY;INTERVAL=2;BYDAY=TU",
        START,
        "1997: Sep 2,9,16,23,30 / Nov 4,11,18,25; 1998: Jan 6,13,20,27 / Mar 3,10,17,24,31",
        False,
    ),
    (
        "FREQ=YEARLY;COUNT=10;BYMONTH=6,7",
        datetime(1997, 6, 10, 9),
        "; ".join(f"{year}: Jun 10 / Jul 10" for year in range(1997, 2002)),
        True,
    ),
    (
        "FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3",
        datetime(1997, 3, 10, 9),
        "1997: Mar 10; 1999: Jan 10 / Feb 10 / Mar 10; 2001: Jan 10 / Feb 10 / Mar 10; 2003: Jan 10 / Feb 10 / Mar 10",
        True,
    ),
    (
        "FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200",
        datetime(1997, 1, 1, 9),
        "1997: Jan 1 / Apr 10 / Jul 19; 2000: Jan 1 / Apr 9 / Jul 18; 2003: Jan 1 / Apr 10 / Jul 19; 2006: Jan 1",
        True,
    ),
    ("FREQ=YEARLY;BYDAY=20MO", datetime(1997, 5, 19, 9), "1997: May 19; 1998: May 18; 1999: May 17", False),
    ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", datetime(1997, 5, 12, 9), "1997: May 12; 1998: May 11; 1999: May 17", False),
    (
        "FREQ=YEARLY;BYMONTH=3;BYDAY=TH",
        datetime(1997, 3, 13, 9),
        "1997: Mar 13,20,27; 1998: Mar 5,12,19,26; 1999: Mar 4,11,18,25",
        False,
    ),
    (
        "FREQ=YEARLY;BYDAY=TH;BYMONTH=6,7,8",
        datetime(1997, 6, 5, 9),
        "1997: Jun 5,12,19,26 / Jul 3,10,17,24,31 / Aug 7,14,21,28; 1998: Jun 4,11,18,25 / Jul 2,9,16,23,30",
        False,
    ),
    (
        "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
        datetime(1997, 9, 3, 9),  # the RFC starts on the 2nd and excludes that day by EXDATE
        "1998: Feb 13 / Mar 13 / Nov 13; 1999: Aug 13; 2000: Oct 13",
        False,
    ),
    (
        "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13",
        datetime(1997, 9, 13, 9),
        "1997: Sep 13 / Oct 11 / Nov 8 / Dec 13; 1998: Jan 10 / Feb 7 / Mar 7 / Apr 11 / May 9 / Jun 13",
        False,
    ),
    (
        "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
        datetime(1996, 11, 5, 9),
        "1996: Nov 5; 2000: Nov 7; 2004: Nov 2",
        False,
    ),
    ("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", datetime(1997, 9, 4, 9), "1997: Sep 4 / Oct 7 / Nov 6", True),
    (
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2",
        datetime(1997, 9, 29, 9),
        "1997: Sep 29 / Oct 30 / Nov 27 / Dec 30; 1998: Jan 29 / Feb 26 / Mar 30",
        False,
    ),
    (
        "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO",
        datetime(1997, 8, 5, 9),
        "1997: Aug 5,10,19,24",
        True,
    ),
    (
        "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU",
        datetime(1997, 8, 5, 9),
        "1997: Aug 5,17,19,31",
        True,
    ),
    (
        "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5",
        datetime(2007, 1, 15, 9),
        "2007: Jan 15,30 / Feb 15 / Mar 15,30",
        True,
    ),
]


@pytest.mark.parametrize(("rule", "start", "expected", "ends"), EXAMPLES, ids=[one[0] for one in EXAMPLES])
def test_rrule_gives_the_dates_of_the_rfc(rule: str, start: datetime, expected: str, ends: int) -> None:
    wanted = [instant_of(day) for day in days(expected)]
    schedule = RRule(rule, start=start, timezone="America/New_York")
    found = list(instants(schedule, instant_of(datetime(1990, 1, 1)), limit=len(wanted) + ends))
    assert [to_datetime(one) for one in found] == [to_datetime(one) for one in wanted]
    assert backwards(schedule, wanted[-1] + 1) == wanted[::-1]


def backwards(schedule: RRule, at: int) -> list[int]:
    found = []
    while (before := previous_before(schedule, at)) is not None:
        assert before < at, schedule
        found.append(at := before)
    return found


def test_rrule_gives_the_times_of_a_day_of_the_rfc() -> None:
    def times(rule: str, *texts: str) -> None:
        schedule = RRule(rule, start=START, timezone="America/New_York")
        wanted = [one for text in texts for one in days("1997: Sep 2", text)]
        assert list(instants(schedule, 0, limit=len(texts))) == [instant_of(one) for one in wanted]

    times("FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T210000Z", "9:00", "12:00", "15:00")
    times("FREQ=MINUTELY;INTERVAL=15;COUNT=6", "9:00", "9:15", "9:30", "9:45", "10:00", "10:15")
    times("FREQ=MINUTELY;INTERVAL=90;COUNT=4", "9:00", "10:30", "12:00", "13:30")
    each_20 = [f"{hour}:{minute:02}" for hour in range(9, 17) for minute in (0, 20, 40)]
    times("FREQ=DAILY;BYHOUR=9,10,11,12,13,14,15,16;BYMINUTE=0,20,40", *each_20)
    times("FREQ=MINUTELY;INTERVAL=20;BYHOUR=9,10,11,12,13,14,15,16", *each_20)


# --- by chance, against dateutil itself


def some_rule(chance: random.Random) -> str:
    frequency = chance.choice(("YEARLY", "MONTHLY", "MONTHLY", "WEEKLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY"))
    parts = [f"FREQ={frequency}", f"INTERVAL={chance.choice((1, 1, 1, 2, 3, 5, 7))}"]
    if chance.random() < 0.3:
        parts.append(f"BYMONTH={chance.randint(1, 6)},{chance.randint(7, 12)}")
    more = {
        "YEARLY": ("BYDAY=20MO", "BYWEEKNO=20,53;BYDAY=MO,SU", "BYYEARDAY=1,100,-1", "BYMONTHDAY=29", ""),
        "MONTHLY": ("BYDAY=-1FR", "BYDAY=2TU,-2SU", "BYMONTHDAY=31", "BYMONTHDAY=-1,15", "BYDAY=MO,TU;BYSETPOS=-1", ""),
        "WEEKLY": ("BYDAY=TU,SU;WKST=SU", "BYDAY=MO,WE,FR", "", "WKST=SU"),
        "DAILY": ("BYDAY=SA,SU", "BYMONTHDAY=1,15", "BYHOUR=8,20;BYMINUTE=0,30", ""),
        "HOURLY": ("BYDAY=MO", "BYMINUTE=5,35", ""),
        "MINUTELY": ("BYDAY=MO", "BYSECOND=0,30", ""),
    }
    parts.append(chance.choice(more[frequency]))
    if chance.random() < 0.2:
        parts.append(f"COUNT={chance.randint(1, 60)}")
    return ";".join(part for part in parts if part)


@pytest.mark.parametrize("seed", range(60))
def test_rrule_agrees_with_dateutil_however_far_it_looks(seed: int) -> None:
    chance = random.Random(seed)
    rule = some_rule(chance)
    start = datetime(2015, chance.randint(1, 12), chance.randint(1, 28), chance.randint(0, 23), chance.randint(0, 59))
    span = timedelta(days=40 if "LY;INTERVAL" in rule and rule.startswith(("FREQ=HOUR", "FREQ=MIN")) else 365 * 11)
    whole = list(takewhile(lambda one: one < start + span, rrulestr(f"RRULE:{rule}", dtstart=start)))
    expected = [instant_of(one) for one in whole]
    try:
        schedule = RRule(rule, start=start)
    except DefinitionError:
        assert not expected
        return
    assert list(islice(instants(schedule, 0), len(expected))) == expected, rule
    for _ in range(40):
        at = instant_of(start) + chance.randint(-86_400, int(span.total_seconds())) * 1_000_000
        at = chance.choice(expected) if expected and chance.random() < 0.3 else at
        wanted = next((one for one in expected if one > at), None)
        if wanted is not None:
            assert next_after(schedule, at) == wanted, (rule, at)
        if at < instant_of(start + span):
            assert previous_before(schedule, at) == next((one for one in reversed(expected) if one < at), None), rule


# --- our convention, and errors


def test_rrule_in_a_gap_runs_right_after_it_where_the_rfc_would_run_an_hour_late() -> None:
    schedule = RRule("FREQ=DAILY;BYHOUR=2;BYMINUTE=30", timezone="America/New_York")
    gap = datetime(2026, 3, 8, 7, tzinfo=UTC)  # 03:00 in New York; the RFC would say 03:30
    assert next_after(schedule, instant_of(gap - timedelta(hours=20))) == instant_of(gap)
    same = Cron("30 2 * * *", timezone="America/New_York")
    begin, end = instant_of(datetime(2026, 1, 1)), instant_of(datetime(2027, 1, 1))
    assert list(instants(schedule, begin, end)) == list(instants(same, begin, end))


def test_rrule_every_hour_follows_the_time_that_passes() -> None:
    begin, end = instant_of(datetime(2026, 10, 24)), instant_of(datetime(2026, 10, 27))
    for rule, cron in (("FREQ=HOURLY", "0 * * * *"), ("FREQ=MINUTELY;INTERVAL=30", "*/30 * * * *")):
        schedule = RRule(rule, timezone="Europe/Oslo")
        assert list(instants(schedule, begin, end)) == list(instants(Cron(cron, timezone="Europe/Oslo"), begin, end))


def test_rrule_is_quick_however_long_ago_it_began() -> None:
    schedule = RRule("FREQ=MINUTELY;INTERVAL=7", start=datetime(1990, 1, 1))
    began = time.perf_counter()
    for hour in range(100):
        next_after(schedule, instant_of(datetime(2026, 1, 1) + timedelta(hours=hour)))
    assert time.perf_counter() - began < 5  # gone through from its start, one alone takes longer


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("FREQ=DALY", "got 'DALY'. Did you mean 'DAILY'?"),
        ("INTERVAL=2", "needs FREQ"),
        ("FREQ=DAILY;BYDAYS=MO", "'BYDAYS' is no part of a rule.*Did you mean 'BYDAY'?"),
        ("FREQ=DAILY;BYHOUR=25", "BYHOUR must be 0 to 23, got '25'"),
        ("FREQ=DAILY;BYMONTHDAY=0", "BYMONTHDAY must be -31 to 31, without 0"),
        ("FREQ=WEEKLY;BYDAY=XX", "BYDAY must be days such as MO"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL must be 1 to"),
        ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL=TOMORROW is no date"),
        ("FREQ=DAILY;FREQ=DAILY", "is there twice"),
        ("FREQ=DAILY;COUNT=3", "give start= too"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "never fires"),
        ("FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30", "never fires"),
        ("", "lacks a value"),
    ],
)
def test_rrule_that_makes_no_sense_is_refused(rule: str, says: str) -> None:
    with pytest.raises(DefinitionError, match=says.replace("?", r"\?")):
        RRule(rule)

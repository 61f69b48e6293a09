"""Calendars: what is left out, what is moved, and why; against a walk over days that knows no shortcut."""

# ruff: noqa: DTZ001  # wall times have no zone

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from ostinato.clock import instant_of, to_datetime
from ostinato.errors import DefinitionError
from ostinato.schedules import Calendar, Cron, Every, On, business_days, instants, left_out, previous_before, refusal

if TYPE_CHECKING:
    from ostinato.schedules import When

OSLO = ZoneInfo("Europe/Oslo")
BEGIN, END = instant_of(datetime(2026, 3, 1)), instant_of(datetime(2026, 11, 10))


def shown(found: list[int]) -> list[str]:
    return [f"{to_datetime(one).astimezone(OSLO):%Y-%m-%d %H:%M}" for one in found]


def test_business_days_leave_out_weekends_and_the_holidays_of_a_country() -> None:
    schedule = Cron("0 6 * * *", timezone="Europe/Oslo", calendar=business_days("NO"))
    found = shown(list(instants(schedule, instant_of(datetime(2027, 5, 12)), limit=5)))
    # 2027-05-16 and 17 are Whitsun and Constitution Day, and Whit Monday
    assert found == [f"2027-05-{day} 06:00" for day in (12, 13, 14, 18, 19)]


def test_a_market_has_holidays_of_its_own() -> None:
    schedule = Cron("0 9 * * *", timezone="America/New_York", calendar=business_days(market="XNYS"))
    found = [to_datetime(one).day for one in instants(schedule, instant_of(datetime(2026, 11, 24)), limit=4)]
    assert found == [24, 25, 27, 30]  # without Thanksgiving


def test_a_weekend_is_that_of_the_country() -> None:
    assert business_days("AE").days != business_days("SA").days == "SUN,MON,TUE,WED,THU"
    assert business_days().days == business_days("NO").days == "MON-FRI"


def test_what_falls_on_a_day_left_out_moves_to_the_next_or_the_previous_one() -> None:
    # 2026-08-01 is a Saturday, 2026-11-01 a Sunday
    for roll, wanted in (
        ("next", ["08-03", "09-01", "10-01", "11-02"]),
        ("previous", ["07-31", "09-01", "10-01", "10-30"]),
    ):
        schedule = Cron("0 6 1 * *", timezone="Europe/Oslo", calendar=business_days(roll=roll))  # type: ignore[arg-type]
        found = shown(list(instants(schedule, instant_of(datetime(2026, 7, 10)), limit=4)))
        assert found == [f"2026-{day} 06:00" for day in wanted]


def test_what_comes_twice_by_moving_fires_once() -> None:
    schedule = Cron("0 6 * * *", timezone="Europe/Oslo", calendar=business_days(roll="next"))
    found = shown(list(instants(schedule, instant_of(datetime(2026, 7, 30, 12)), limit=3)))
    assert found == ["2026-07-31 06:00", "2026-08-03 06:00", "2026-08-04 06:00"]


def test_reasons_are_given_for_what_is_left_out() -> None:
    calendar = business_days("NO", not_on=[date(2026, 5, 15)])
    schedule = Cron("0 6 * * *", timezone="Europe/Oslo", calendar=calendar)
    begin = instant_of(datetime(2026, 5, 13, 12))
    found = [why for _, why in left_out(schedule, begin, begin + 5 * 86_400 * 10**6)]
    assert found[0].startswith("2026-05-14 is ")
    assert found[0].endswith(" (NO)")
    assert found[1:] == ["2026-05-15 is left out", "2026-05-16 is a Saturday", "2026-05-17 is a Sunday"]
    event = On("x", calendar=calendar, timezone="Europe/Oslo")
    assert refusal(event, instant_of(datetime(2026, 5, 15, 12))) == "2026-05-15 is left out"
    assert refusal(event, instant_of(datetime(2026, 5, 15, 22, 30))) == "2026-05-16 is a Saturday"
    assert refusal(event, instant_of(datetime(2026, 5, 18, 12))) is None


def test_a_calendar_that_makes_no_sense_is_refused() -> None:
    for make, says in (
        (lambda: Calendar(days="MONFRI"), "the day of the week 'MONFRI' is not a number"),
        (lambda: Calendar(roll="back"), '"skip", "next" or "previous"'),  # type: ignore[arg-type]
        (lambda: Calendar(not_on=["2026-01-01"]), "takes dates"),  # type: ignore[list-item]
        (lambda: Calendar(subdivision="BY"), "a part of a country"),
        (lambda: business_days("XQ"), "no holidays of a country 'XQ'"),
        (lambda: business_days("DE", subdivision="XX"), "no holidays of 'XX' in DE; it has"),
        (lambda: business_days(market="NYSEX"), "Did you mean 'NYSE'"),
    ):
        with pytest.raises(DefinitionError, match=says):
            make()


# --- against a walk over days


def walked(base: When, calendar: Calendar, zone: ZoneInfo) -> list[int]:
    """Leave out or move every instant of a series, one by one."""
    found = set()
    for at in instants(base, BEGIN - 40 * 86_400 * 10**6, END + 40 * 86_400 * 10**6):
        local = to_datetime(at).astimezone(zone)
        day = local.date()
        if calendar.reason(day) is None:
            found.add(at)
        elif calendar.roll != "skip":
            while calendar.reason(day) is not None:
                day += timedelta(days=1 if calendar.roll == "next" else -1)
            wall = datetime.combine(day, local.time())
            moved = wall.replace(tzinfo=zone)
            if moved.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != wall:  # in a gap: at its end
                moved = min(
                    one
                    for minute in range(180)
                    if (one := (wall + timedelta(minutes=minute)).replace(tzinfo=zone).astimezone(UTC))
                    and one.astimezone(zone).replace(tzinfo=None) == wall + timedelta(minutes=minute)
                )
            found.add(instant_of(moved))
    return sorted(one for one in found if BEGIN <= one <= END)


@pytest.mark.parametrize("roll", ["skip", "next", "previous"])
@pytest.mark.parametrize("zone", ["Europe/Oslo", "America/Santiago"])
def test_calendars_agree_with_a_walk_over_days(roll: str, zone: str) -> None:
    bases: list[When] = [
        *(
            Cron(text, timezone=zone)
            for text in ("0 6 * * *", "30 2 * * SUN", "0 0 1 * *", "0 */5 * * *", "30 2 L * *")
        ),
        *(Cron(text, timezone=zone) for text in ("0 0 * * SAT,SUN", "0 12 24-31 5 *", "15 10 * * 1")),
        *(Every(hours=7, timezone=zone), Every(hours=30, timezone=zone)),
    ]
    calendars = [
        Calendar(days="MON-FRI", roll=roll),  # type: ignore[arg-type]
        business_days("NO", roll=roll),  # type: ignore[arg-type]
        Calendar(days="TUE,SUN", not_on=[date(2026, 3, 29), date(2026, 10, 25)], roll=roll),  # type: ignore[arg-type]
        Calendar(not_on=[date(2026, 5, day) for day in range(20, 32)], roll=roll),  # type: ignore[arg-type]
    ]
    chance = random.Random(zone + roll)
    for base in bases:
        for calendar in calendars:
            expected = walked(base, calendar, ZoneInfo(zone))
            if not expected:
                continue
            schedule = base.with_options(calendar=calendar)
            assert list(instants(schedule, BEGIN - 1, END, limit=len(expected) + 1)) == expected, schedule
            at, back = END + 1, []
            while (found := previous_before(schedule, at)) is not None and found >= BEGIN:
                assert found < at, schedule
                back.append(at := found)
            assert back[::-1] == expected, schedule
            for _ in range(10):
                at = chance.randint(BEGIN, expected[-1] - 1)
                assert next(instants(schedule, at)) == next(one for one in expected if one > at), (schedule, at)

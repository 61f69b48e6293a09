"""Automations as values and as JSON: what makes no sense is refused, with what was expected and the nearest name."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from ostinato import Deployment, flow
from ostinato.automations import (
    Absent,
    AllOf,
    AnyOf,
    Automation,
    CancelRun,
    Count,
    During,
    Emit,
    Escalate,
    Happened,
    InOrder,
    Late,
    Longer,
    Notify,
    Pause,
    Rate,
    Resume,
    RunFailed,
    RunIs,
    RunSucceeded,
    Start,
    TaskFailed,
    Webhook,
    Weekly,
)
from ostinato.automations.actions import steps_of, without_secrets
from ostinato.automations.automation import from_spec, row_of, to_spec
from ostinato.automations.templates import check, fill, fill_text
from ostinato.deadlines import Due, due_of, to_due
from ostinato.errors import DefinitionError, OstinatoError
from ostinato.schedules import Cron, On
from ostinato.schedules import to_spec as to_schedule

LEAVES = (
    RunFailed(flow="a", tags=["x"], reason="lost"),
    RunSucceeded(),
    RunIs("crashed", "cancelled", reason=["lost"]),
    TaskFailed("load", reason="timed_out"),
    Late("end"),
    Longer(timedelta(hours=1)),
    Longer(times=2.5, quantile=0.9),
    Happened("orders.landed", key="7", where={"amount": (">", 5), "country": "NO", "a.b": ("in", ("x", "y"))}),
    Rate(0.2, last=50),
    Rate(0.5, within=timedelta(hours=1), least=10, by="flow"),
    Absent("heart.beat", within=90),
    Absent(RunSucceeded(flow="etl"), within=timedelta(hours=1), after=Cron("0 6 * * 1-5", timezone="Europe/Oslo")),
    Absent(Happened("b"), within=0.5, after=Happened("a"), by="key"),
)
ACTIONS = (
    Notify("slack://a/b/c", title="{flow}", body="{data.amount}"),
    Notify(["env:OPS", "ops"]),
    Webhook("https://example.org/x", body={"n": "{count}"}, headers={"X": "env:TOKEN"}, method="PUT"),
    Webhook("env:HOOK"),
    Start("repair", parameters={"run": "{run_id}", "n": [1, "{data.n}"]}, tags="auto"),
    Pause(),
    Pause(schedule="etl:night"),
    Resume("etl"),
    CancelRun(),
    Emit("orders.stuck", key="{key}", data={"why": "{summary}"}),
    Escalate(60, [Notify("boss"), Escalate(timedelta(hours=1), CancelRun())]),
)


def test_any_automation_is_the_same_after_a_round_trip():
    for seed in range(200):
        chance = random.Random(seed)
        automation = Automation(
            when=_trigger(chance, 0),
            then=chance.sample(ACTIONS, 3),
            name="x",
            description="d",
            flow=chance.choice([(), "a", ["a", "b*"]]),
            tags=chance.choice([(), ["t"]]),
            owner=chance.choice([(), "ada"]),
            once_per=chance.choice([None, 3600, timedelta(milliseconds=1500)]),
            silence=chance.choice([(), Weekly("sat,sun"), [During("0 22 * * *", 3600, "Europe/Oslo"), Weekly()]]),
            paused=chance.random() < 0.5,
        )
        spec = to_spec(automation)
        again = from_spec(spec, name="x", description="d", paused=automation.paused)
        assert again == automation
        assert to_spec(again) == spec


def _trigger(chance, depth):
    if depth > 2 or chance.random() < 0.4:
        return chance.choice(LEAVES)
    children = [_trigger(chance, depth + 1) for _ in range(chance.randint(2, 3))]
    return chance.choice(
        [
            AllOf(*children, within=chance.choice([None, 60]), by=chance.choice([None, "key", "data.shop"])),
            AnyOf(*children),
            InOrder(*children, within=timedelta(days=1)),
            Count(children[0], 3, within=chance.choice([None, 60]), by="flow"),
            Absent(children[0], within=60),
        ]
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Automation(when=RunFailed, then=Notify("x")), "Automation(when=RunFailed): call it: RunFailed(...)"),
        (lambda: Automation(when="run.failed", then=Notify("x")), "must be a trigger: RunFailed, RunSucceeded"),
        (lambda: Automation(when=RunFailed(), then=[]), "takes one action or more: Notify"),
        (lambda: Automation(when=RunFailed(), then=Notify), "call it: Notify(...)"),
        (lambda: Automation(when=RunFailed(), then=[CancelRun()] * 21), "20 actions at most"),
        (lambda: Automation(when=RunFailed(), then=CancelRun(), once_per=-1), "once_per=...) must be a timedelta"),
        (lambda: Automation(when=RunFailed(), then=CancelRun(), silence="sat"), "silence=...) must be a Weekly or a During"),
        (RunIs, "takes one state or more"),
        (lambda: RunIs("faild"), "'faild' is no state of a run. Did you mean 'failed'?"),
        (lambda: RunFailed(flow=3), "flow=...) must be a text or a list of texts, got 3"),
        (lambda: Late("begin"), "must be 'start', 'end' or None, got 'begin'"),
        (Longer, "takes either than="),
        (lambda: Longer(5, times=3), "takes either than="),
        (lambda: Longer(times=1), "must be a number above 1"),
        (lambda: Longer(times=3, quantile=0), "quantile=...) must be"),
        (lambda: Happened("Orders landed"), "must be an event's kind like 'orders.landed'"),
        (lambda: Happened("o", where={"n": (">>", 3)}), "must be (operator, value) with one of =="),
        (lambda: Happened("o", where={"n": ("in", "abc")}), "'in' takes a list"),
        (lambda: Count(RunFailed(), 1), "n=...) must be a whole number, 2 to 1000, got 1"),
        (lambda: Count(RunFailed(), 3, by="flwo"), "Did you mean 'flow'?"),
        (lambda: Count(RunFailed(), 3, within=timedelta(0)), "above 0"),
        (lambda: Rate(20, last=5), "must be a share from 0 to below 1, got 20"),
        (lambda: Rate(0.2), "takes last=, a number of runs, or within="),
        (lambda: Rate(0.2, last=5, least=6), "must be at most last, 5"),
        (lambda: Absent("a"), "within=...) must be a timedelta"),
        (lambda: Absent("a", within=5, by="key"), "needs after="),
        (lambda: Absent("a", within=5, after=7), "A schedule is Cron(...)"),
        (lambda: Absent("a", within=5, after=On("x.y")), "a schedule with instants"),
        (lambda: from_spec({"when": {"type": "Absent", "of": {"type": "RunFailed"}, "within": 5, "after": {"type": "Instants", "spec": "x"}}, "then": []}), "schedule"),
        (lambda: Absent("a", within=5, after="61 * * * *"), "61"),
        (lambda: AllOf(RunFailed()), "takes two triggers or more, got 1"),
        (lambda: InOrder(RunFailed(), "x"), "InOrder(of=...) must be a trigger"),
        (Notify, "takes whom to tell"),
        (lambda: Notify("not an address"), "an Apprise URL, 'env:NAME' or a channel's name"),
        (lambda: Notify("ops", body="{flwo}"), "there is no {flwo} to fill in. Did you mean 'flow'?"),
        (lambda: Notify("ops", body="{flow.__class__}"), "only data has parts"),
        (lambda: Notify("ops", body="{0}"), "there is no {0}"),
        (lambda: Notify("ops", body="{run!r}"), "there is no {run!r}"),
        (lambda: Notify("ops", body="a { b"), "a brace stands alone"),
        (lambda: Webhook("ftp://x"), "an http(s) URL or 'env:NAME'"),
        (lambda: Webhook("http://x", method="GET"), "POST, PUT or PATCH"),
        (lambda: Webhook("http://x", headers={"A": "b\nC: d"}), "each of one line"),
        (lambda: Webhook("http://x", body={"at": object()}), "must be JSON"),
        (lambda: Start(""), "a flow, a deployment or its name"),
        (lambda: Start("f", parameters={"x": "{nope}"}), "Start(parameters=...)['x']: there is no {nope}"),
        (lambda: Pause("a", schedule="b"), "not both"),
        (lambda: Emit("run.failed"), "events run.… are Ostinato's own"),
        (lambda: Emit("no kind"), "an event's kind"),
        (lambda: Escalate(0, CancelRun()), "after=...) must be a timedelta"),
        (lambda: Escalate(60), "takes one action or more"),
        (lambda: Weekly("sun,sut"), "days like 'sat,sun' or 'mon-fri'"),
        (lambda: Weekly(start="25:00"), "a time like '22:00'"),
        (lambda: Weekly(timezone="Europe/Olso"), "a timezone like 'Europe/Oslo'"),
        (lambda: row_of(Automation(when=RunFailed(), then=CancelRun())), "needs a name"),
        (lambda: from_spec("{"), "is no JSON"),
        (lambda: from_spec("[]"), "is an object with when, then"),
        (lambda: from_spec({"when": {"type": "RunFailed"}}), "has no 'then'"),
        (lambda: from_spec({"when": {}, "then": [], "whn": 1}), "no 'whn'. Did you mean 'when'?"),
        (lambda: from_spec({"when": {"type": "RunFaild"}, "then": []}), "There is no trigger 'RunFaild'. Did you mean"),
        (lambda: from_spec({"when": {"type": "Instants", "spec": to_schedule(Cron("@daily"))}, "then": {"type": "CancelRun"}}), "must be a trigger"),
        (
            lambda: from_spec({"when": {"type": "Count", "of": {"type": "X"}}, "then": []}),
            "There is no trigger in of 'X'",
        ),
        (lambda: from_spec({"when": {"type": "RunFailed", "flows": 1}, "then": []}), "no 'flows'. Did you mean 'flow'?"),
        (lambda: from_spec({"when": {"type": "RunFailed"}, "then": [{"type": "Notfy"}]}), "no action 'Notfy'. Did you"),
        (lambda: from_spec({"when": {"type": "Happened"}, "then": []}), "something is missing"),
        (lambda: from_spec({"when": "RunFailed", "then": []}), 'is an object with a "type"'),
        (Due, "takes start=, end= or times="),
        (lambda: Due(times=0), "a number above 0"),
        (lambda: to_due("soon"), "must be Due(...) or a span of time"),
        (lambda: due_of({"ends": 5}), "no 'ends'. Did you mean 'end'?"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_what_to_do(make, said):
    with pytest.raises(OstinatoError) as refused:
        make()
    assert said in str(refused.value)


def test_a_spec_nested_without_end_is_refused():
    data = {"type": "RunFailed"}
    for _ in range(50):
        data = {"type": "Count", "of": data, "n": 2}
    with pytest.raises(DefinitionError, match="nested too deeply"):
        from_spec({"when": data, "then": [{"type": "CancelRun"}]})


# --- templates


def test_a_template_is_filled_in_and_a_name_alone_keeps_its_type():
    values = {"flow": "etl", "tags": ["a", "b"], "data": {"amount": 3, "list": [1], "a": {"b": None}}}
    assert (
        fill_text("{flow} has {data.amount} of {{tags}}: {tags} {data.list}", values) == "etl has 3 of {tags}: a, b [1]"
    )
    assert fill({"n": "{data.amount}", "t": ["x{data.amount}"]}, values) == {"n": 3, "t": ["x3"]}
    assert fill_text("<{data.gone}{reason}{data.a.b}>", values) == "<>"


def test_a_value_is_never_a_template_itself():
    assert fill_text("{key}", {"key": "{flow}", "flow": "etl"}) == "{flow}"


def test_values_have_no_attributes():
    check("{data.__class__}", "x")  # a name of the data like any other
    assert fill_text("{data.__class__.__mro__}", {"data": {}}) == ""


# --- actions laid out


def test_escalations_are_laid_out_with_their_delays_and_each_address_is_a_step():
    steps = steps_of([Notify(["a", "b"]), Escalate(60, [CancelRun(), Escalate(30, Notify("c"))])])
    assert [(type(step.action).__name__, step.delay, step.escalates) for step in steps] == [
        ("Notify", 0, False),
        ("Notify", 0, False),
        ("CancelRun", 60, True),
        ("Notify", 90, True),
    ]


def test_what_is_shown_of_an_action_has_no_secret_in_it():
    shown = str(
        without_secrets(
            [
                Notify(["slack://tokenA/tokenB", "env:OPS"]).to_data(),
                Escalate(60, Webhook("https://u:pass@x.org/p?key=s3cret", headers={"A": "s3cret"})).to_data(),
            ]
        )
    )
    assert "slack://…" in shown
    assert "env:OPS" in shown
    assert not any(secret in shown for secret in ("tokenA", "pass", "s3cret"))


def test_a_flow_or_a_deployment_stands_where_its_name_may() -> None:
    @flow
    def etl() -> None: ...

    nightly = Deployment(etl, name="nightly")
    alarm = Automation(when=RunFailed(flow=[etl, "other"]), then=Start(nightly), flow=nightly, name="alarm")
    assert alarm.flow == ("etl/nightly",)
    assert from_spec(to_spec(alarm), name="alarm") == alarm
    assert '"flow":["etl","other"]' in to_spec(alarm)

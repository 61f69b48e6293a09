"""The page in a real browser: it shows what is, follows what happens, and runs nothing that a run wrote."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from tests.serving import carried_out

from ostinato.work import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.serving import Running

CHROMIUM = shutil.which("chromium")
WAIT = 15_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        sync_playwright = None
    if CHROMIUM is None or sync_playwright is None:
        if os.environ.get("CI"):
            pytest.fail("The tests of the page need Playwright and Chromium under CI.")
        pytest.skip("there is no Chromium, or no Playwright, on this machine")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, server: Running) -> Iterator[Any]:
    """A page that is closed before its server, and that must not have complained."""
    context = browser.new_context()
    made = context.new_page()
    complaints: list[str] = []
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
    made.set_default_timeout(WAIT)
    yield made
    context.close()
    assert complaints == []


def test_the_page_follows_a_run_without_being_loaded_again(server: Running, page: Any) -> None:
    server.deploy("weather")
    page.goto(server.url)
    page.get_by_text("There is no run yet").wait_for()
    page.locator(".live.on").wait_for()
    run = server.start()
    page.get_by_role("link", name=run["id"]).first.wait_for()
    page.locator(".state.queued").first.wait_for()
    carried_out(server, run["id"])
    server.serving.served.changed()
    page.locator(".state.succeeded").first.wait_for()


def test_a_run_has_a_page_of_its_own(server: Running, page: Any) -> None:
    server.deploy("weather")
    run_id = server.start()["id"]
    carried_out(server, run_id)
    page.goto(server.url)
    page.get_by_role("link", name=run_id).first.click()
    page.get_by_role("heading", name="Task runs 3").wait_for()
    assert "fetched <b>Oslo</b>" in page.locator("pre").last.inner_text()
    assert page.locator("pre b").count() == 0
    page.go_back()
    page.get_by_role("heading", name="Newest runs").wait_for()


def test_what_waits_says_why_and_can_be_cancelled(server: Running, page: Any) -> None:
    server.deploy("weather")
    run_id = server.start()["id"]
    server.http.post("/api/deployments/pause/weather")
    page.goto(server.url)
    page.get_by_text("is paused").first.wait_for()
    page.goto(f"{server.url}/#/runs/{run_id}")
    page.get_by_role("button", name="Cancel").click()
    page.locator(".state.cancelled").wait_for()
    assert server.store.get_run(run_id).state == "cancelled"


def test_a_module_that_is_broken_is_shown_as_text(server: Running, page: Any) -> None:
    errors = json.dumps({"bad<b>.py": "<img src=x onerror=document.title='owned'>SyntaxError"})
    server.store.put_project(Project(name="demo", root="/", host="h", errors=errors), [])
    page.goto(server.url)
    page.get_by_role("heading", name="bad<b>.py cannot be imported").wait_for()
    assert page.locator("main img").count() == 0
    assert page.title() == "Ostinato"


def test_a_token_is_asked_for_and_kept_in_the_tab_only(server: Running, page: Any) -> None:
    shown = server.as_user("ada", "viewer")["Authorization"].removeprefix("Bearer ")
    server.serving.served.is_open = False
    page.goto(server.url)
    field = page.get_by_label("Token")
    field.fill("ost_wrong")
    field.press("Enter")
    page.get_by_text("This token does not hold").wait_for()
    page.get_by_label("Token").fill(shown)
    page.get_by_role("button", name="Show the page").click()
    page.get_by_role("heading", name="Newest runs").wait_for()
    assert "user:ada" in page.locator("#about").inner_text()
    assert page.evaluate("localStorage.length") == 0
    assert page.context.cookies() == []


def test_an_unknown_run_is_told_on_the_page(server: Running, page: Any) -> None:
    page.goto(f"{server.url}/#/runs/0000000000000000")
    page.get_by_text("There is no run").wait_for()

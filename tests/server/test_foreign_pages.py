"""An open server is not driven by the pages of other sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.serving import Running


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4600", "127.0.0.1.evil.example", "", "localhost.evil.example", "10.0.0.1"]
)
def test_a_name_that_was_made_to_lead_here_is_refused(server: Running, host: str) -> None:
    for method, path in (("GET", "/api/runs"), ("POST", "/api/runs"), ("GET", "/")):
        answer = server.http.request(method, path, headers={"Host": host})
        assert answer.status_code in (400, 403), answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]:4600"])
def test_the_names_of_this_machine_are_answered(server: Running, host: str) -> None:
    assert server.http.get("/api/runs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_write_from_another_site_is_refused(server: Running, headers: dict[str, str]) -> None:
    server.deploy("weather")
    for path in ("/api/deployments/pause/weather", "/api/store/emit"):
        answer = server.http.post(path, headers=headers)
        assert answer.status_code == 403, answer.text
        assert "another site" in answer.json()["detail"]
    assert server.store.get_deployed("weather").paused is False


def test_a_write_from_the_own_page_is_done(server: Running) -> None:
    server.deploy("weather")
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    assert server.http.post("/api/deployments/pause/weather", headers=own).status_code == 200


def test_no_other_site_may_read_what_is_answered(server: Running) -> None:
    answer = server.http.get("/api/runs", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert server.http.options("/api/runs", headers={"Origin": "https://evil.example"}).status_code in (403, 405)


def test_a_server_that_asks_for_tokens_answers_under_any_name(server: Running) -> None:
    shown = server.as_user("ada", "admin")
    server.serving.served.is_open = False
    headers = {"Host": "ostinato.example", "Origin": "https://ostinato.example", **shown}
    assert server.http.post("/api/tokens", json={"name": "x"}, headers=headers).status_code == 201


def test_the_page_runs_nothing_but_its_own_script(server: Running) -> None:
    policy = server.http.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in server.http.get("/").text.replace("http://www.w3.org", "")

"""The OpenAPI document is complete, and what the server answers is what it says."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from tests.serving import carried_out

if TYPE_CHECKING:
    from tests.serving import Running

PUBLIC = {"/api/health", "/api/ready"}


def document(server: Running) -> dict[str, Any]:
    answer = server.http.get("/api/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


def operations(server: Running) -> list[tuple[str, dict[str, Any]]]:
    return [(path, operation) for path, methods in document(server)["paths"].items() for operation in methods.values()]


def test_operations_have_names_tags_and_a_sentence(server: Running) -> None:
    found = operations(server)
    names = [operation["operationId"] for _, operation in found]
    assert len(names) == len(set(names)) > 30
    for path, operation in found:
        assert operation["operationId"].isalnum(), operation["operationId"]
        assert operation["tags"], path
        assert operation["description"].endswith("."), path


def test_every_answer_has_a_shape_and_every_refusal_is_a_problem(server: Running) -> None:
    for path, operation in operations(server):
        for status, answer in operation["responses"].items():
            if status == "204":
                continue
            assert answer["content"], (path, status)
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], (path, status)
            elif "application/json" in answer["content"]:
                assert answer["content"]["application/json"]["schema"], (path, status)
        assert path in PUBLIC or {"401", "403", "422"} <= set(operation["responses"]), path


def test_every_reference_in_the_document_leads_somewhere(server: Running) -> None:
    whole = document(server)
    schemas = whole["components"]["schemas"]

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                assert node["$ref"].removeprefix("#/components/schemas/") in schemas, node["$ref"]
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(whole)
    assert {"Problem", "Event", "State", "Run"} <= set(schemas)


def test_no_page_of_documentation_loads_anything_from_elsewhere(server: Running) -> None:
    for path in ("/docs", "/redoc", "/api/docs"):
        assert server.http.get(path).status_code == 404


@pytest.mark.filterwarnings("ignore")
def test_nothing_that_fits_the_document_or_breaks_it_finds_an_error_of_the_server(server: Running) -> None:
    import schemathesis
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    names = (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "unsupported_method",
    )
    checks = CHECKS.get_by_names(list(names))
    server.deploy("weather", "news")
    carried_out(server, server.start()["id"])
    known = {"run_id": server.start()["id"], "name": "weather"}
    schema = schemathesis.openapi.from_url(f"{server.url}/api/openapi.json")
    tried = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/stream") or (operation.path, operation.method) == ("/api/users", "post"):
            continue  # the first never ends, the second locks the door behind it
        tried.add(operation.path)

        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            def ask(case: Any) -> None:
                for name, value in known.items():
                    if name in case.path_parameters and len(str(case.path_parameters[name])) % 3 == 0:
                        case.path_parameters[name] = value
                case.validate_response(case.call(timeout=10), checks=checks)

            with contextlib.suppress(Unsatisfiable):  # what takes nothing cannot be given anything wrong
                ask()
    assert len(tried) > 20

"""``ostinato deployments list | show | pause | resume | remove``."""

from __future__ import annotations

import json as jsons
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.text import Text

from ostinato.cli.options import AsJson, store
from ostinato.cli.screen import show as show_on
from ostinato.cli.screen import show_json, table, when
from ostinato.clock import to_rfc3339
from ostinato.errors import UnknownNameError, nearest
from ostinato.runtime.auditing import audit

if TYPE_CHECKING:
    from ostinato.work import Deployed

Name = Annotated[str, Parameter(name="NAME", help="A deployment's name, as `deployments list` shows it.")]
OfProject = Annotated[str | None, Parameter(name="--project", help="Only those of this project.")]
ProjectName = Annotated[str, Parameter(name="PROJECT", help="A project's name, as `deployments list` shows it.")]


def list_deployments(*, project: OfProject = None, json: AsJson = False) -> None:
    """List what is deployed: the flows that can be started from outside."""
    with store() as opened:
        found = [each for each in opened.list_deployed(project=project) if each.kind != "sensor"]
        now = opened.now()
    if json:
        show_json([shape(deployed) for deployed in found])
        return
    if not found:
        print("Nothing is deployed yet. Deploy the flows of this folder: ostinato deploy")
        return
    made = table("deployment", "project", "pool", "queue", "state", "deployed", whole=("deployment", "deployed"))
    for deployed in found:
        state = Text("broken", "bold red") if deployed.broken else Text("paused", "yellow") if deployed.paused else ""
        place = (deployed.project, deployed.pool, deployed.queue)
        made.add_row(deployed.name, *place, state, when(deployed.updated_at, now))
    show_on(made)


def show(name: Name, /, *, json: AsJson = False) -> None:
    """Show a deployment: where its flow is, its parameters, and what it needs."""
    with store() as opened:
        found, now = opened.get_deployed(name), opened.now()
    if json:
        show_json(shape(found))
        return
    made = table("", "", whole=("",))
    made.show_header = False
    for label, value in (
        ("deployment", found.name),
        ("flow", f"{found.flow}  {found.target}"),
        ("project", found.project),
        ("pool", f"{found.pool}, queue {found.queue}, priority {found.priority}"),
        ("state", "paused: its runs are kept in the queue" if found.paused else "active"),
        ("broken", found.broken or ""),
        ("resources", "" if found.resources in {None, "{}"} else found.resources),
        ("code", f"{found.code_policy}{', source ' + found.bundle[:12] if found.bundle else ''}"),
        ("tags", ", ".join(found.tags)),
        ("deployed", when(found.updated_at, now)),
        ("about", found.description),
    ):
        if value:
            made.add_row(Text(label, "dim"), str(value))
    show_on(made, *_parameters(found))


def _parameters(deployed: Deployed) -> list[Any]:
    schema, given = jsons.loads(deployed.schema), jsons.loads(deployed.parameters)
    properties: dict[str, Any] = schema.get("properties", {})
    if not properties:
        return ["", "It takes no parameters."]
    made = table("parameter", "type", "default", whole=("parameter",))
    for name, rule in properties.items():
        default = given.get(name, rule.get("default"))
        needed = name in schema.get("required", ()) and name not in given
        made.add_row(name, _type(rule), Text("required", "yellow") if needed else jsons.dumps(default))
    return ["", made]


def _type(rule: dict[str, Any]) -> str:
    """Name the type that a JSON Schema describes, in a word or two."""
    if "anyOf" in rule:
        return " or ".join(_type(one) for one in rule["anyOf"])
    if "enum" in rule:
        return " or ".join(jsons.dumps(value) for value in rule["enum"])
    kind = str(rule.get("type", rule.get("$ref", "any"))).rpartition("/")[2]
    return f"{kind} of {_type(rule['items'])}" if kind == "array" and isinstance(rule.get("items"), dict) else kind


def pause(name: Name, /, *, json: AsJson = False) -> None:
    """Keep the runs of a deployment in the queue; those that have begun go on."""
    _pause(name, paused=True, as_json=json)


def resume(name: Name, /, *, json: AsJson = False) -> None:
    """Let the runs of a paused deployment go."""
    _pause(name, paused=False, as_json=json)


def _pause(name: str, *, paused: bool, as_json: bool) -> None:
    with store() as opened:
        changed = opened.pause_deployed(name, paused=paused)
        audit(opened, None, f"deployment_{'paused' if paused else 'resumed'}", name)
    if as_json:
        show_json(shape(changed))
    elif paused:
        print(f"{name} is paused: its runs wait. Let them go by `ostinato deployments resume {name}`.")
    else:
        print(f"{name} is active: its runs are claimed again.")


def remove(project: ProjectName, /, *, json: AsJson = False) -> None:
    """Remove a project with all its deployments; its runs stay."""
    with store() as opened:
        names = [deployed.name for deployed in opened.list_deployed(project=project)]
        known = [found.name for found in opened.list_projects()]
        if project not in known:
            raise UnknownNameError(f"There is no project {project!r}.{nearest(project, known)}")
        opened.remove_project(project)
        audit(opened, None, "project_removed", project, more={"deployments": names})
    if json:
        show_json({"project": project, "deployments": names})
    else:
        print(f"Project {project} is removed, and with it {', '.join(names) or 'no deployment'}.")


def shape(deployed: Deployed) -> dict[str, Any]:
    """Describe a deployment, its JSON texts decoded."""
    found: dict[str, Any] = msgspec.structs.asdict(deployed)
    for name in ("parameters", "schema", "blueprint", "resources", "options"):
        found[name] = None if found[name] is None else jsons.loads(found[name])
    found["updated_at"] = to_rfc3339(deployed.updated_at)
    return found

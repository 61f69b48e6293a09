"""Deployments and the projects they come from."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from ostinato.access import Who
from ostinato.automations.automation import Automation, row_of
from ostinato.automations.automation import from_spec as automation_of
from ostinato.clock import to_rfc3339
from ostinato.errors import DefinitionError, nearest
from ostinato.resources import amounts_of
from ostinato.runtime.starting import check_schema
from ostinato.schedules import from_spec, to_spec
from ostinato.server import shapes
from ostinato.server.asking import Cursor, Here, Limit, Operator, Viewer, from_cursor, note, page, refusals, reply
from ostinato.server.served import Served
from ostinato.server.shapes import Page
from ostinato.timing import Schedule, Timing
from ostinato.work import Deployed, Project

deployments = APIRouter(prefix="/api/deployments", tags=["deployments"], responses=refusals())
projects = APIRouter(prefix="/api/projects", tags=["projects"], responses=refusals())
# a deployment's name may hold a slash, flow/variant: so what is done to it stands before its name
DeploymentName = Annotated[str, Path(min_length=1, max_length=300, description="The deployment's name.")]
ProjectName = Annotated[str, Path(min_length=1, max_length=200, description="The project's name.")]


@deployments.get("", response_model=Page[shapes.Deployment])
async def list_deployments(
    served: Here,
    _who: Viewer,
    project: Annotated[str | None, Query(max_length=200)] = None,
    flow: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 200,
    cursor: Cursor = None,
) -> Response:
    """List deployments by name."""
    after = from_cursor(cursor) or ""
    found = await served.call(lambda: served.store.list_deployed(project=project, flow=flow))
    rows = [deployed for deployed in found if deployed.name > after]
    return page(rows, limit, deployment_of, lambda deployed: deployed.name)


@deployments.get("/{name:path}", response_model=shapes.Deployment, responses=refusals(404))
async def get_deployment(served: Here, _who: Viewer, name: DeploymentName) -> Response:
    """Look at a deployment."""
    deployed = await served.call(lambda: served.store.get_deployed(name))
    blueprint = None if deployed.blueprint is None else msgspec.json.decode(deployed.blueprint)
    return reply({**deployment_of(deployed), "blueprint": blueprint})


@deployments.post("/pause/{name:path}", response_model=shapes.Deployment, responses=refusals(404))
async def pause_deployment(served: Here, who: Operator, name: DeploymentName) -> Response:
    """Keep its runs back."""
    return await _pause(served, who, name, paused=True)


@deployments.post("/resume/{name:path}", response_model=shapes.Deployment, responses=refusals(404))
async def resume_deployment(served: Here, who: Operator, name: DeploymentName) -> Response:
    """Let its runs go."""
    return await _pause(served, who, name, paused=False)


async def _pause(served: Served, who: Who, name: str, *, paused: bool) -> Response:
    def work() -> Response:
        deployed = served.store.pause_deployed(name, paused=paused)
        note(served, who, "deployment_paused" if paused else "deployment_resumed", name)
        return reply(deployment_of(deployed))

    return await served.call(work)


@projects.get("", response_model=list[shapes.Project])
async def list_projects(served: Here, _who: Viewer) -> Response:
    """List projects by name."""
    found = await served.call(served.store.list_projects)
    return reply([_project_of(project) for project in found])


@projects.put("/{name}", response_model=list[shapes.Deployment])
async def put_project(served: Here, who: Operator, name: ProjectName, manifest: shapes.Manifest) -> Response:
    """Deploy what a project holds now."""

    def work() -> Response:
        now = served.store.now()
        deployed = [_deployed(name, flow, now) for flow in manifest.deployments]
        for one in deployed:
            check_schema(one)
        stored = served.store.put_project(_project(name, manifest, now), deployed, _timing(name, manifest))
        note(served, who, "project_deployed", name, more={"deployments": len(stored), "bundle": manifest.bundle})
        return reply([deployment_of(one) for one in stored])

    return await served.call(work)


@projects.delete("/{name}", status_code=204, responses=refusals(404))
async def remove_project(served: Here, who: Operator, name: ProjectName) -> Response:
    """Remove a project; its runs stay."""

    def work() -> Response:
        served.store.remove_project(name)
        note(served, who, "project_removed", name)
        return Response(status_code=204)

    return await served.call(work)


def deployment_of(deployed: Deployed) -> dict[str, Any]:
    """Describe a deployment."""
    return {
        "name": deployed.name,
        "flow": deployed.flow,
        "project": deployed.project,
        "target": deployed.target,
        "pool": deployed.pool,
        "queue": deployed.queue,
        "priority": deployed.priority,
        "parameters": msgspec.json.decode(deployed.parameters),
        "schema": msgspec.json.decode(deployed.schema),
        "resources": amounts_of(deployed.resources),
        "description": deployed.description,
        "tags": deployed.tags,
        "code_policy": deployed.code_policy,
        "bundle": deployed.bundle,
        "paused": deployed.paused,
        "broken": deployed.broken,
        "updated_at": to_rfc3339(deployed.updated_at),
        "blueprint": None,
    }


def _project_of(project: Project) -> dict[str, Any]:
    return {
        "name": project.name,
        "root": project.root,
        "host": project.host,
        "bundle": project.bundle,
        "errors": msgspec.json.decode(project.errors),
        "python": project.python,
        "version": project.version,
        "updated_at": to_rfc3339(project.updated_at),
    }


def _project(name: str, manifest: shapes.Manifest, now: int) -> Project:
    return Project(
        name=name,
        root=manifest.root,
        host=manifest.host,
        bundle=manifest.bundle,
        errors=_text(manifest.errors),
        python=manifest.python,
        version=manifest.version,
        updated_at=now,
    )


def _deployed(project: str, flow: shapes.DeployedFlow, now: int) -> Deployed:
    return Deployed(
        name=flow.name,
        flow=flow.flow,
        project=project,
        target=flow.target,
        pool=flow.pool,
        queue=flow.queue,
        priority=flow.priority,
        parameters=_text(flow.parameters),
        schema=_text(flow.schema_),
        blueprint=None if flow.blueprint is None else _text(flow.blueprint),
        resources=None if flow.resources is None else _text(flow.resources),
        options=_text(flow.options),
        description=flow.description,
        tags=flow.tags,
        code=flow.code,
        code_policy=flow.code_policy,
        bundle=flow.bundle,
        broken=flow.broken,
        kind=flow.kind,
        updated_at=now,
    )


def _timing(project: str, manifest: shapes.Manifest) -> Timing:
    """Read the schedules and automations of a manifest.

    Raises:
        DefinitionError: If one makes no sense, or is of a deployment that the manifest does not have.
    """
    return Timing(
        schedules=[_schedule(project, manifest, schedule) for schedule in manifest.schedules],
        automations=[row_of(_automation(one), project=project) for one in manifest.automations],
    )


def _schedule(project: str, manifest: shapes.Manifest, declared: shapes.DeclaredSchedule) -> Schedule:
    names = [flow.name for flow in manifest.deployments]
    if declared.deployment not in names:
        hint = nearest(declared.deployment, names)
        raise DefinitionError(f"The schedule {declared.name!r} is of no deployment of the project.{hint}")
    kind, spec = declared.kind, _text(declared.spec)
    if kind != "sensor":
        schedule = from_spec(spec)
        kind, spec = schedule.kind, to_spec(schedule)
    return Schedule(
        name=declared.name,
        deployment=declared.deployment,
        project=project,
        kind=kind,
        spec=spec,
        parameters=_text(declared.parameters),
        tags=sorted(declared.tags),
        paused=declared.paused,
        cursor=declared.cursor,
    )


def _automation(declared: shapes.DeclaredAutomation) -> Automation:
    return automation_of(declared.spec, name=declared.name, description=declared.description, paused=declared.paused)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()

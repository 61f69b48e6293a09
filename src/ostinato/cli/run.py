"""``ostinato run``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ostinato.authoring.load import load_flow
from ostinato.cli.ending import carry_out
from ostinato.cli.options import AsJson, ParamFile, Params, Quiet, read_parameters
from ostinato.io.pickles import stand_in_for_main
from ostinato.runtime.operations import Carried, run_flow

if TYPE_CHECKING:
    from ostinato.settings import Settings

Target = Annotated[str, Parameter(name="TARGET", help="file.py:flow, file.py with one flow in it, or module:flow.")]
Resume = Annotated[
    bool, Parameter(name="--resume", negative=(), help="Go on with an interrupted run of the same parameters.")
]
Tag = Annotated[list[str] | None, Parameter(name="--tag", negative=(), help="A label to find the run by; repeatable.")]
Key = Annotated[str | None, Parameter(name="--key", help="Run once per key: what has run already is not run again.")]


def run(
    target: Target,
    /,
    *,
    param: Params = None,
    param_file: ParamFile = None,
    resume: Resume = False,
    tag: Tag = None,
    key: Key = None,
    quiet: Quiet = False,
    json: AsJson = False,
) -> int:
    """Run a flow here and now, in this process: durable, logged, resumable."""

    def work(settings: Settings) -> Carried:
        flow = load_flow(target)
        stand_in_for_main(sys.modules[flow.fn.__module__])
        parameters = read_parameters(flow, param, param_file)
        options = flow.options
        chosen = flow.with_options(
            resume=resume or options.resume, key=key or options.key, tags=dict.fromkeys((*options.tags, *(tag or ())))
        )
        return run_flow(chosen, parameters, settings)

    return carry_out(work, as_json=json, quiet=quiet)

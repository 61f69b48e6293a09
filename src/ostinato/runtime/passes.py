"""Passes: a run's body is run, and run again, until the run has ended or waits without a process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ostinato.runtime.one_pass import OnePass, body_of, body_of_async

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostinato.authoring.flow import Flow
    from ostinato.records import Run
    from ostinato.runtime.runner import Runner
    from ostinato.runtime.session import Session
    from ostinato.runtime.standstill import Standstill


class Passes:
    """Runs runs, in this process, until they end."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.went: Literal["ended", "suspended", "lost"] | None = None
        """How it went with the last run that is no child of another here; None while that is not known."""

    def run_here(
        self,
        run: Run,
        flow: Flow[Any, Any],
        parameters: Mapping[str, Any],
        *,
        parent: Runner | None = None,
        still: Standstill | None = None,
    ) -> Any:
        """Run a sync flow's run, which this session holds, to its end.

        Args:
            run: The run.
            flow: Its flow.
            parameters: Its parameters.
            parent: The pass in which it is called, for a child run.
            still: What sees when that only waits, if this run's waiting is its waiting.

        Returns:
            What the body returned.

        Raises:
            BaseException: What the body raised.
        """
        while True:
            with OnePass(self, run, flow, parameters, parent, still) as now:
                try:
                    now.value = now.runner.body.run(lambda: body_of(now))
                except BaseException as error:  # it decides how the run ends
                    now.fail(error)
                if now.error is not None and not now.is_lost:
                    now.runner.drain_here()
            if now.due_at is None:
                return now.hand_over()
            now.rest_here()
            run = self.session.store.reopen(run.id, self.session.worker_id, attempt=True, epoch=run.epoch)

    async def run_async(
        self,
        run: Run,
        flow: Flow[Any, Any],
        parameters: Mapping[str, Any],
        *,
        parent: Runner | None = None,
        still: Standstill | None = None,
    ) -> Any:
        """Run an async flow's run on this loop; see `run_here`."""
        while True:
            with OnePass(self, run, flow, parameters, parent, still) as now:
                release = now.runner.outstanding.adopt()
                try:
                    now.value = await body_of_async(now)
                except BaseException as error:
                    now.fail(now.runner.translate(error))
                finally:
                    release()
                if now.error is not None and not now.is_lost:
                    await now.runner.drain_async()
            if now.due_at is None:
                return now.hand_over()
            await now.rest_async()
            run = self.session.store.reopen(run.id, self.session.worker_id, attempt=True, epoch=run.epoch)

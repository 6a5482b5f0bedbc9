"""The part of `Client` that is about flows, and about the values they share."""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from mill_actors.errors import FlowNotFound
from mill_actors.flows.document import whole
from mill_actors.flows.tally import Tallies
from mill_actors.jobs.jsons import decode
from mill_actors.store import (
    flow_control,
    flow_status,
    flow_tallies,
    flow_versions,
    resources,
    submission,
    variables,
)
from mill_actors.store.connection import Connection
from mill_actors.store.flow_status import FlowJob, FlowStepRow
from mill_actors.store.flow_versions import FlowText
from mill_actors.store.notify import DEPLOY, notify, ring_queue
from mill_actors.store.queries import sql
from mill_actors.store.resources import Resource
from mill_actors.store.variables import Variable

T = TypeVar("T")


class DeployedFlow(Struct, frozen=True):
    """A path's flow with all that is stored of it; `value`, `schema` and `rest` are JSON text."""

    path: str
    hash: str
    version: int
    summary: str
    description: str
    value: str
    schema: str | None
    rest: str
    tag: str
    dedicated: bool
    options: Any
    created_by: str
    created_at: datetime

    @property
    def document(self) -> dict[str, Any]:
        """The document it was deployed from."""
        schema = None if self.schema is None else decode(self.schema)
        return whole(self.summary, self.description, schema, decode(self.value), decode(self.rest))


class FlowCalls(ABC):
    """Mixed into `Client`."""

    workspace: str
    user: str

    @abstractmethod
    def _run(self, work: Callable[[Connection], T]) -> T:
        """Lend the client's connection."""

    # -- what there is -------------------------------------------------------------

    def deploy_flow(self, flow: FlowText) -> bool:
        """Make a version what its path means, from now on; False if it meant that already."""

        def work(own: Connection) -> bool:
            changed = flow_versions.deploy_flow(own, flow, self.user)
            if changed:
                notify(own, DEPLOY, f"{flow.workspace}:flow/{flow.path}")
            return changed

        return self._run(work)

    def flows(self) -> Sequence[flow_versions.ListedFlow]:
        """Return every flow path of the workspace."""
        return self._run(lambda own: flow_versions.list_flows(own, self.workspace))

    def flow(self, path: str) -> DeployedFlow:
        """Return what a path means now; raise `FlowNotFound`, with similar paths if there are any."""

        def work(own: Connection) -> DeployedFlow:
            found = self._version(own, path, None)
            if found is None:
                flow_versions.flow_by_path(own, self.workspace, path)  # knows similar ones
                raise FlowNotFound(self.workspace, path)
            return found

        return self._run(work)

    def flow_version(self, digest: str) -> DeployedFlow:
        """Return one version, whatever its path means now; raise `FlowNotFound`."""
        found = self._run(lambda own: self._version(own, None, digest))
        if found is None:
            raise FlowNotFound(self.workspace, digest)
        return found

    def _version(self, own: Connection, path: str | None, digest: str | None) -> DeployedFlow | None:
        told = {"workspace": self.workspace, "path": path, "hash": digest}
        row = own.execute(sql.flow_document, told).fetchone()
        return None if row is None else DeployedFlow(*row)

    # -- runs ----------------------------------------------------------------------

    def flow_status(self, job: str) -> dict[str, Any]:
        """Return a flow's FlowStatus, as Windmill's; any body's job will do.

        Raises `JobNotFound`, and `InvalidArgs` for a job that has no steps.
        """
        return self._run(lambda own: flow_status.read_flow_status(own, self.workspace, job))

    def flow_tallies(self, job: str) -> Tallies:
        """Return what became of the steps inside a flow's loops and branches; raise as `flow_status` does."""
        return self._run(lambda own: flow_tallies.read_tallies(own, self.workspace, job))

    def flow_job(self, job: str) -> FlowJob:
        """Return the version and the body that a flow's job runs; raise as `flow_status` does."""
        return self._run(lambda own: flow_status.read_flow_job(own, self.workspace, job))

    def flow_steps(
        self, bodies: Sequence[str], since: datetime, quiet: Sequence[str] = (), limit: int = 1000
    ) -> Sequence[FlowStepRow]:
        """Return the jobs below some flows' that ended since a moment, then open ones."""
        return self._run(lambda own: flow_status.read_steps(own, bodies, since, quiet, limit))

    def resume(
        self,
        job: str,
        value: Any = None,
        approver: str = "",
        *,
        approved: bool = True,
        resume_id: int | None = None,
    ) -> str:
        """Answer the approval that a flow, or something inside it, waits for; return the job that hears it.

        An answer that comes before anybody asks is kept for the first who does. Raises `MillError` if the
        flow is over.
        """
        return self._run(
            lambda own: flow_control.resume_flow(
                own, self.workspace, job, value, approver, approved=approved, resume_id=resume_id
            )
        )

    def restart(
        self,
        job: str,
        step: str,
        iteration: int = 0,
        args: Mapping[str, object] | bytes | None = None,
    ) -> str:
        """Submit a finished flow anew, from a step on, or from one of its iterations; return the new job.

        Results before it are those of the old run, and so are the arguments if none are given. Raises
        `InvalidArgs` with what stands in the way.
        """

        def work(own: Connection) -> str:
            told = flow_control.plan_restart(own, self.workspace, job, step, iteration, args)
            done = submission.submit(own, [replace(told, created_by=self.user)])
            ring_queue(own, done.tags)
            return done.receipts[0].id

        return self._run(work)

    # -- shared values -------------------------------------------------------------

    def set_variable(
        self, path: str, value: str, description: str | None = None, *, secret: bool | None = None
    ) -> None:
        """Set what `$var:path` means; a secret is encrypted, and what is not said stays as it is."""
        self._run(
            lambda own: variables.put_variable(
                own, self.workspace, path, value, description, is_secret=secret, edited_by=self.user
            )
        )

    def variable(self, path: str) -> Variable:
        """Return a variable, a secret decrypted; raise `SharedValueNotFound`."""
        return self._run(lambda own: variables.get_variable(own, self.workspace, path))

    def variables(self) -> builtins.list[Variable]:
        """Return every variable of the workspace, secrets without their text."""
        return self._run(lambda own: variables.list_variables(own, self.workspace))

    def delete_variable(self, path: str) -> None:
        """Delete a variable; raise `SharedValueNotFound`."""
        self._run(lambda own: variables.delete_variable(own, self.workspace, path))

    def set_resource(
        self, path: str, value: Any, resource_type: str | None = None, description: str | None = None
    ) -> None:
        """Set what `$res:path` means."""
        self._run(
            lambda own: resources.put_resource(
                own, self.workspace, path, value, resource_type, description, edited_by=self.user
            )
        )

    def resource(self, path: str) -> Resource:
        """Return a resource; raise `SharedValueNotFound`."""
        return self._run(lambda own: resources.get_resource(own, self.workspace, path))

    def resources(self) -> builtins.list[Resource]:
        """Return every resource of the workspace."""
        return self._run(lambda own: resources.list_resources(own, self.workspace))

    def delete_resource(self, path: str) -> None:
        """Delete a resource; raise `SharedValueNotFound`."""
        self._run(lambda own: resources.delete_resource(own, self.workspace, path))

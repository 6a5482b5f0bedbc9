"""The Puller's hands: jobs to Runners, and Runners for jobs that have none.

The lowest of the layers that `puller` is made of: dispatching, claiming, pinning, reconciling.
"""

from __future__ import annotations

import logging
from functools import partial
from time import monotonic

from pykka import ActorDeadError, Timeout

from mill_actors.actors.attempt import Judge
from mill_actors.actors.context import NodeContext
from mill_actors.actors.messages import (
    NOT_RUN,
    Broke,
    Drain,
    Due,
    Outcomes,
    Progress,
    Release,
    Returned,
    Run,
    Sweep,
)
from mill_actors.actors.pool import Handle, Pool, Version
from mill_actors.actors.runner import Runner
from mill_actors.errors import InvalidArgs, StoreUnavailable
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.outcome import Outcome, Verdict, error_result
from mill_actors.jobs.script import Script
from mill_actors.store import scripts
from mill_actors.store.connection import Session
from mill_actors.store.references import fill_args, has_references
from mill_actors.store.settlement import Retrial
from supervisors import (
    TEMPORARY,
    ChildSpec,
    NameNotFound,
    Process,
    Timer,
    send,
    send_after,
    start_child,
)

logger = logging.getLogger(__name__)

#: Jobs that found no Runner for this long make one give way …
PATIENCE_SECONDS = 0.1
#: … and beyond this go back to the queue, for a worker with room.
RELEASE_SECONDS = 0.5
SWEEP_SECONDS = 0.1


class Dispatching(Process):
    """Runners and what they have in hand; knows the Runners by count, not by job."""

    def init(self, context: NodeContext, worker: str, runners: str, completer: str) -> None:
        self._context = context
        self._worker = worker
        self._runners = runners
        self._completer = completer
        self._holder = context.holder(worker)
        self._limits = context.config.worker
        self._session = Session(context.database, "mill puller")
        self._pool = Pool(self._limits.processes, self._limits.prefetch_seconds)
        self._scripts: dict[Version, Script] = {}
        self._pinned: dict[Version, Script] = {}
        #: Which version paths mean, as far as we were told: (workspace, path) → hash.
        self._current: dict[tuple[str, str], str] = {}
        self._tags: list[str] = list(self._limits.tags)
        self._numbers = 0
        self._dry = False
        self._pinning = True
        #: the serial of the latest `Handed`
        self._handovers = 0
        #: tags of dedicated flows, which are claimed apart; whether the last claim of them found too few
        self._flow_tags: list[str] = []
        self._told_tags: list[str] = sorted(self._tags)
        self._flows_dry = False
        self._woken_dry = False
        self._flows_in_hand = 0
        self._due_asked = 0.0
        self._due_later = False
        self._unsettled = 0
        self._unsettled_bytes = 0
        self._sweeping = False
        self._pinning_later = False
        self._reconciling: Timer | None = None

    def _dispatch(self) -> None:
        pool = self._pool
        if not pool.waiting:
            return
        for handle, share in pool.plan():
            self._send(handle, share)
        for version in list(pool.waiting):
            self._find_room(version)

    def _send(self, handle: Handle, share: int) -> None:
        version = (handle.script.workspace, handle.script.hash)
        jobs = self._pool.take(version, share)
        if any(has_references(job.args) for job in jobs):
            jobs = self._fill(handle.script, jobs)
            if not jobs:
                return
        handle.in_flight += len(jobs)
        if not send(handle.ref, Run(jobs)):
            # It has just ended; its Down is under way.
            handle.in_flight -= len(jobs)
            handle.retiring = True
            self._pool.hold(jobs, front=True)

    def _fill(self, script: Script, jobs: list[ClaimedJob]) -> list[ClaimedJob]:
        """Fill in what arguments refer to; return the jobs that can run. The rows stay as they are."""
        named = [job for job in jobs if job.filled is None and has_references(job.args)]
        try:
            found = self._session.run(lambda connection: fill_args(connection, named))
        except StoreUnavailable:
            self._pool.hold(jobs, front=True)
            return []
        judge = Judge(script, self._limits)
        finished: list[Outcome] = []
        retried: list[Retrial] = []
        now = monotonic()
        for job in named:
            filled = found[job.id]
            if isinstance(filled, InvalidArgs):
                judge.fail(job, error_result("InvalidArgs", str(filled)), 0, now, finished, retried)
            else:
                job.filled = filled
        if finished or retried:
            send(self._completer, Outcomes(finished, retried))
            failed = {o.job.id for o in finished} | {r.outcome.job.id for r in retried}
            jobs = [job for job in jobs if job.id not in failed]
        return jobs

    def _find_room(self, version: Version) -> None:
        """Start a Runner for jobs that found none with room, if there is a place for it."""
        pool = self._pool
        if not pool.may_start(version):
            self._fail_broken(version)
            return
        runners = [h for h in pool.runners_of(version) if not h.retiring]
        if any(not h.ready for h in runners):
            return
        if pool.is_full:
            idle = pool.evictable()
            if idle is None:
                return
            self._retire(idle)
        script = self._script(version)
        if script is None:
            return
        handle = self._start(script)
        if handle is not None:
            self._send(handle, handle.room)

    def _start(self, script: Script) -> Handle | None:
        self._numbers += 1
        number = self._numbers
        name = self._context.address(f"{self._worker}/runner {number}")
        spec = ChildSpec(
            id=f"runner {number}",
            start=partial(
                Runner.spawn,
                self._context,
                self._worker,
                number,
                script,
                self._completer,
                self.actor_ref,
                name=name,
            ),
            restart=TEMPORARY,
            shutdown=10.0,
        )
        version = (script.workspace, script.hash)
        try:
            ref = start_child(self._runners, spec)
        except (NameNotFound, ActorDeadError, Timeout):
            # The Runners' supervisor has crashed, and we are stopped with it: not the jobs' fault.
            logger.warning("no Runner for %s: their supervisor is away", script.path)
            return None
        except Exception as error:
            logger.exception("no process for %s", script.path)
            self._pool.failed(version)
            self._pool.broke(
                version, error_result("StartFailed", f"the process could not be started: {error}")
            )
            self._fail_broken(version)
            return None
        if ref is None:
            return None
        handle = self._pool.add(number, ref, script)
        handle.obsolete = self._current.get((script.workspace, script.path), script.hash) != script.hash
        self.monitor(ref)
        return handle

    def _script(self, version: Version) -> Script | None:
        script = self._scripts.get(version)
        if script is None:
            try:
                script = self._session.run(lambda c: scripts.script_by_hash(c, *version))
            except StoreUnavailable:
                return None
            if script is None:
                self._fail_waiting(version, "ScriptNotFound", f"there is no script version {version[1]}")
                return None
            self._scripts[version] = script
        return script

    def _fail_waiting(self, version: Version, name: str, message: str) -> None:
        if version not in self._pool.waiting:
            return
        now = monotonic()
        result = error_result(name, message)
        jobs = self._pool.take(version, 1 << 30)
        send(self._completer, Outcomes([Outcome(job, Verdict.FAILURE, result, 0, now) for job in jobs]))

    def _fail_broken(self, version: Version) -> None:
        """Fail what waits for a script that could not be imported a moment ago, with that error.

        It is tried again after a pause. To let the jobs wait for that would keep others from their
        place in our hands.
        """
        error = self._pool.import_error(version)
        script = self._scripts.get(version)
        if error is None or script is None or version not in self._pool.waiting:
            return
        if any(h.ready and not h.retiring for h in self._pool.runners_of(version)):
            return
        judge = Judge(script, self._limits)
        finished: list[Outcome] = []
        retried: list[Retrial] = []
        now = monotonic()
        for job in self._pool.take(version, 1 << 30):
            judge.fail(job, error, 0, now, finished, retried)
        send(self._completer, Outcomes(finished, retried))

    def _progress(self, told: Progress) -> None:
        self._unsettled_bytes += told.result_bytes
        handle = self._pool.handles.get(told.runner)
        if handle is None:
            return
        handle.in_flight = max(0, handle.in_flight - told.jobs)
        if told.spent_us != NOT_RUN:
            handle.window.observe(told.jobs, told.spent_us)
            handle.is_slow = False
        if handle.in_flight == 0:
            handle.idle_since = monotonic()

    def _returned(self, told: Returned) -> None:
        handle = self._pool.handles.get(told.runner)
        if handle is not None:
            handle.in_flight = max(0, handle.in_flight - len(told.jobs))
            handle.returns = told.serial
            handle.is_slow = True
            handle.retiring |= told.ends
        self._pool.hold(told.jobs, front=True)

    def _broke(self, told: Broke) -> None:
        handle = self._pool.handles.get(told.runner)
        if handle is not None:
            handle.broken = True
            self._pool.broke((handle.script.workspace, handle.script.hash), told.error)

    def _retire(self, handle: Handle) -> None:
        handle.retiring = True
        handle.retired_at = monotonic()
        send(handle.ref, Drain())

    def _retire_obsolete(self) -> None:
        """Let go of Runners of replaced versions once nothing is left for them."""
        for handle in self._pool.obsolete():
            self._retire(handle)

    def _forget(self, handle: Handle) -> None:
        """Keep no script that no Runner and no job needs: there is a new version every day."""
        version = (handle.script.workspace, handle.script.hash)
        needed = self._pool.runners_of(version) or version in self._pool.waiting or version in self._pinned
        if handle.ready and not needed:
            self._scripts.pop(version, None)

    def _sweep_later(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            send_after(SWEEP_SECONDS, self.actor_ref, Sweep())

    def _sweep(self) -> None:
        """Jobs that wait in vain: make a Runner give way, then give them back."""
        now = monotonic()
        pool = self._pool
        for version, queue in list(pool.waiting.items()):
            age = now - queue.since
            runners = [h for h in pool.runners_of(version) if not h.retiring]
            is_stuck = age > PATIENCE_SECONDS and not runners and pool.may_start(version)
            if is_stuck and pool.is_full and not pool.is_making_room(RELEASE_SECONDS):
                victim = pool.victim(version)
                if victim is not None:
                    self._retire(victim)
            if age > RELEASE_SECONDS:
                released = pool.take(version, 1 << 30)
                send(self._completer, Release(released))
                # Not by us, not now: whoever has room may take them.
                self._dry = True
                send_after(RELEASE_SECONDS, self.actor_ref, Due())

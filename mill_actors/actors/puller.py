"""The Puller: demand → claim → dispatch.

It claims no more than its Runners can work off in `prefetch_seconds`, hands the jobs out, starts
and stops Runners, and knows by count (not by job) what is where. Whatever gets out of step is put
right by `reconcile`: what the database says we hold is compared with what we do hold.

States of its attention: DRY (the last claim found less than it asked for: wait for a ring, a due
time or the poll) and WET (claim again as soon as there is demand).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import assert_never

from pykka import ActorDeadError, Timeout

from mill_actors.actors.attempt import Judge
from mill_actors.actors.context import NodeContext
from mill_actors.actors.messages import (
    NOT_RUN,
    Adopt,
    Adopted,
    Begin,
    Broke,
    Cancel,
    CancelFlows,
    CancelRequested,
    Deployed,
    Drain,
    Due,
    Handed,
    Holding,
    Outcomes,
    Poll,
    Progress,
    Ready,
    Reconcile,
    Release,
    Returned,
    Run,
    Settled,
    Sweep,
    Wake,
)
from mill_actors.actors.pool import Handle, Pool, Version
from mill_actors.actors.runner import Runner
from mill_actors.errors import InvalidArgs, ScriptNotFound, StoreUnavailable
from mill_actors.events import Moved
from mill_actors.ids import new_id
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.lifecycle import Action, State
from mill_actors.jobs.outcome import Outcome, Verdict, error_result
from mill_actors.jobs.script import Script
from mill_actors.store import claims, scripts
from mill_actors.store.connection import Connection, Session
from mill_actors.store.flow_versions import FLOW_TAG, pinned_flows
from mill_actors.store.holder import Holder
from mill_actors.store.nodes import serve_tags
from mill_actors.store.references import fill_args, has_references
from mill_actors.store.settlement import Retrial
from supervisors import (
    TEMPORARY,
    ChildSpec,
    Crashed,
    Down,
    NameNotFound,
    Process,
    ProcessRef,
    Reason,
    SupervisorError,
    Timer,
    ask,
    send,
    send_after,
    start_child,
    whereis,
    which_children,
)

logger = logging.getLogger(__name__)

#: Jobs the Completer may have before we claim more; and their results' bytes.
MAX_UNSETTLED = 6000
MAX_UNSETTLED_BYTES = 64 * 1024 * 1024
#: Jobs that found no Runner for this long make one give way …
PATIENCE_SECONDS = 0.1
#: … and beyond this go back to the queue, for a worker with room.
RELEASE_SECONDS = 0.5
SWEEP_SECONDS = 0.1
RECONCILE_SECONDS = 30.0
ASK_SECONDS = 10.0
#: A pinned process that does not come up is looked after this often.
PIN_SECONDS = 1.0
#: Flows under way that are looked at in one batch.
MAX_WOKEN = 200
#: Dedicated flows in hand, beyond which a round only takes longer.
MAX_FLOWS_IN_HAND = 400
#: Claims between two looks into the inbox.
CLAIMS_IN_A_ROW = 8
#: Due times are looked up no more often than this.
DUE_SECONDS = 0.2


class Puller(Process):
    """One per worker; last to start, first to stop."""

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
        self._adopt()
        self.actor_ref.tell(Reconcile())
        self._poll_later()

    # -- messages ------------------------------------------------------------------

    def handle(
        self,
        message: (
            Progress
            | Settled
            | Wake
            | Returned
            | Handed
            | Ready
            | Broke
            | Poll
            | Due
            | CancelRequested
            | Deployed
            | Reconcile
            | Sweep
            | Down
        ),
    ) -> None:
        match message:
            case Progress():
                self._progress(message)
            case Settled(jobs, result_bytes, flows):
                self._flows_in_hand = max(0, self._flows_in_hand - flows)
                self._unsettled = max(0, self._unsettled - jobs)
                self._unsettled_bytes = max(0, self._unsettled_bytes - result_bytes)
            case Wake(tags):
                self._wake(tags)
            case Returned():
                self._returned(message)
            case Handed(jobs, serial):
                self._handovers = serial
                self._unsettled += len(jobs)
                self._pool.hold(jobs, front=True)
            case Ready(number):
                if (ready := self._pool.handles.get(number)) is not None:
                    ready.ready = True
            case Broke():
                self._broke(message)
            case Poll():
                self._dry = self._flows_dry = self._woken_dry = False
                self._pinning = True
                self._poll_later()
            case Due(later):
                self._due_later &= not later
                self._dry = self._flows_dry = self._woken_dry = False
            case CancelRequested(jobs):
                self._cancel(jobs)
            case Deployed(name):
                self._pinning = True
                self._pinning_later = False
                if name:
                    self._outdate(name)
            case Reconcile():
                self._reconcile_later(RECONCILE_SECONDS)
                self._release_missing()
            case Sweep():
                self._sweeping = False
                self._sweep()
            case Down(ref):
                self._bury(ref)
            case _:
                assert_never(message)

    def idle(self) -> None:
        """Dispatch and claim, once per drained inbox: credits that arrive together are one claim."""
        if self._pinning:
            self._pin()
        self._dispatch()
        self._retire_obsolete()
        self._claim_flows()
        self._claim_woken()
        for _ in range(CLAIMS_IN_A_ROW):
            if self._dry or self.stop_requested.is_set() or self._context.fenced.is_set():
                break
            demand = self._demand()
            if demand <= 0 or not self._claim(demand):
                break
            self._dispatch()
        else:
            self.actor_ref.tell(Due())
        if self._pool.waiting:
            self._sweep_later()
        self._publish_credit(0)
        self._show()

    def terminate(self, reason: Reason) -> None:
        """On an ordered stop let running jobs end, within the grace; everything else goes back."""
        self._context.credit.tell((), 0)
        for version in list(self._pool.waiting):
            jobs = self._pool.take(version, 1 << 30)
            send(self._completer, Release(jobs))
        # Without a Completer what the jobs answer is lost: they have to run again anyway.
        if not isinstance(reason, Crashed) and whereis(self._completer) is not None:
            self._drain()
        self._session.close()

    # -- claiming ------------------------------------------------------------------

    def _wake(self, tags: frozenset[str] | None) -> None:
        if tags is None or not tags.isdisjoint(self._tags):
            self._dry = False
        if tags is None or not tags.isdisjoint(self._flow_tags):
            self._flows_dry = self._woken_dry = False
        if tags is not None and FLOW_TAG in tags:
            self._woken_dry = False

    def _demand(self) -> int:
        if self._unsettled > MAX_UNSETTLED or self._unsettled_bytes > MAX_UNSETTLED_BYTES:
            return 0
        appetite = self._pool.appetite
        demand = appetite - self._pool.in_hand
        # Under load claims of a quarter or more: the statement's own cost is shared by more jobs.
        return demand if demand >= appetite // 4 else 0

    def _claim(self, demand: int) -> bool:
        """Claim up to `demand` jobs; False if there is nothing to dispatch."""
        claim = new_id()
        tags = self._tags

        def work(connection: Connection, failed: int) -> list[ClaimedJob]:
            if failed:
                held = claims.claimed_jobs(connection, self._holder, claim)
                if held:
                    return held
            return claims.claim_jobs(connection, self._holder, claim, tags, demand)

        jobs = self._session.insist(work, self.stop_requested, "claim")
        if jobs is None:
            return False
        if len(tags) > 1:
            # Tags of equal priority take turns at being first; but what has begun goes before what has not.
            turned = [*tags[1:], tags[0]]
            self._tags = [tag for tag in turned if tag != FLOW_TAG] + [FLOW_TAG] * (FLOW_TAG in turned)
        stopped_short = any(job.rescues for job in jobs) or (
            sum(job.args_bytes for job in jobs) >= claims.MAX_CLAIM_BYTES // 2
        )
        if len(jobs) < demand and not stopped_short:
            self._dry = True
        if not jobs:
            self._look_ahead()
            return False
        self._unsettled += len(jobs)
        self._context.events.publish(
            Moved(Action.CLAIM, State.QUEUED, State.RUNNING, [job.id for job in jobs], self._holder.worker)
        )
        flows = [job for job in jobs if job.is_flow]
        if flows:
            self._publish_credit(len(jobs) - len(flows))
            send(self._completer, Begin(flows))
            jobs = [job for job in jobs if not job.is_flow]
        self._pool.hold(jobs)
        if self._dry:
            self._dispatch()
            self._look_ahead()
        return True

    def _claim_flows(self) -> None:
        """Claim dedicated flows, as many as keep their Runners busy; the Completer holds them."""
        if not self._flow_tags or self._flows_dry:
            return
        if self.stop_requested.is_set() or self._context.fenced.is_set():
            return
        wanted = min(MAX_FLOWS_IN_HAND, max(1, self._pool.pipeline))
        demand = wanted - self._flows_in_hand
        if demand <= 0 or demand < wanted // 4:
            return
        tags = self._flow_tags
        jobs = self._take_flows(claims.claim_jobs, tags, demand)
        self._flow_tags = [*tags[1:], tags[0]]
        self._flows_dry = jobs is not None and jobs < demand
        if self._flows_dry:
            self._look_ahead()

    def _claim_woken(self) -> None:
        """Claim flows under way that somebody has to look at, however busy the Runners are."""
        if self._woken_dry or self.stop_requested.is_set() or self._context.fenced.is_set():
            return
        tags = [*self._flow_tags, *({FLOW_TAG} & set(self._tags))]
        jobs = self._take_flows(claims.claim_woken_flows, tags, MAX_WOKEN) if tags else 0
        self._woken_dry = jobs is not None and jobs < MAX_WOKEN

    def _take_flows(
        self,
        take: Callable[[Connection, Holder, str, Sequence[str], int], list[ClaimedJob]],
        tags: Sequence[str],
        limit: int,
    ) -> int | None:
        """Claim flows and give them to the Completer; return how many, None if we were stopped."""
        claim = new_id()

        def work(connection: Connection, failed: int) -> list[ClaimedJob]:
            held = claims.claimed_jobs(connection, self._holder, claim) if failed else []
            return held or take(connection, self._holder, claim, tags, limit)

        jobs = self._session.insist(work, self.stop_requested, "claim flows")
        if not jobs:
            return None if jobs is None else 0
        self._flows_in_hand += sum(job.tag != FLOW_TAG for job in jobs)
        self._unsettled += len(jobs)
        self._context.events.publish(
            Moved(Action.CLAIM, State.QUEUED, State.RUNNING, [job.id for job in jobs], self._holder.worker)
        )
        send(self._completer, Begin(jobs))
        return len(jobs)

    def _look_ahead(self) -> None:
        """Set a timer for the next scheduled job; asked seldom, because a poll comes anyway."""
        now = monotonic()
        if now - self._due_asked < DUE_SECONDS:
            if not self._due_later:
                self._due_later = True
                send_after(DUE_SECONDS, self.actor_ref, Due(later=True))
            return
        self._due_asked = now
        try:
            seconds = self._session.run(lambda c: claims.next_due_seconds(c, [*self._tags, *self._flow_tags]))
        except StoreUnavailable:
            send_after(DUE_SECONDS, self.actor_ref, Due())
            return
        if seconds is not None and seconds < self._limits.poll_seconds:
            send_after(max(0.0, seconds) + 0.001, self.actor_ref, Due())

    def _poll_later(self) -> None:
        pause = self._limits.poll_seconds * random.uniform(0.8, 1.2)  # noqa: S311  jitter
        send_after(pause, self.actor_ref, Poll())

    def _publish_credit(self, taken: int) -> None:
        """Tell the Completer what the next steps of flows find room for."""
        tags = () if self.stop_requested.is_set() or self._context.fenced.is_set() else self._tags
        self._context.credit.tell(tags, self._pool.appetite - self._pool.in_hand - taken)

    # -- dispatching ---------------------------------------------------------------

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

    # -- Runners -------------------------------------------------------------------

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

    def _bury(self, ref: object) -> None:
        for number, handle in list(self._pool.handles.items()):
            if handle.ref == ref:
                self._pool.remove(number)
                if handle.in_flight > 0:
                    # What it had to say is said (same sender, same order), so it ended with jobs
                    # in its inbox.
                    self._release_missing()
                self._forget(handle)
                break
        self._pinning = True

    def _forget(self, handle: Handle) -> None:
        """Keep no script that no Runner and no job needs: there is a new version every day."""
        version = (handle.script.workspace, handle.script.hash)
        needed = self._pool.runners_of(version) or version in self._pool.waiting or version in self._pinned
        if handle.ready and not needed:
            self._scripts.pop(version, None)

    def _pin(self) -> None:
        """Start what is dedicated and not running; let go of versions that are no longer current."""
        self._pinning = False
        wanted = self._limits.dedicated
        if not wanted:
            return
        try:
            current = self._session.run(scripts.dedicated_scripts)
            flows = self._session.run(lambda c: pinned_flows(c, wanted))
        except StoreUnavailable:
            self._pinning = True
            return
        mine = [
            s for s in current if "*" in wanted or s.path in wanted or f"{s.workspace}:{s.path}" in wanted
        ]
        self._serve_flows(sorted({flow.tag for flow in flows}))
        steps = [script for flow in flows for script in flow.scripts]
        pinned = {(s.workspace, s.hash): s for s in [*mine, *steps]}
        for script in [*current, *steps]:
            self._replace(script)
        for handle in self._pool.handles.values():
            version = (handle.script.workspace, handle.script.hash)
            if handle.pinned and version not in pinned:
                handle.pinned = False
                handle.obsolete = True
        self._pinned = pinned
        self._scripts.update(pinned)
        for version, script in pinned.items():
            runners = [h for h in self._pool.runners_of(version) if not h.retiring]
            if any(h.pinned for h in runners):
                continue
            if runners:
                runners[0].pinned = True
            elif self._pool.may_start(version):
                started = self._start(script)
                if started is not None:
                    started.pinned = True
            elif not self._pinning_later:
                self._pinning_later = True
                send_after(PIN_SECONDS, self.actor_ref, Deployed(""))
        self._serve([*self._limits.tags, *sorted({s.tag for s in mine} - set(self._limits.tags))])

    def _outdate(self, name: str) -> None:
        """A path means another version now: look which."""
        workspace, _, path = name.partition(":")
        if path.startswith("flow/"):
            return  # the next pinning sees it
        try:
            self._replace(self._session.run(lambda c: scripts.script_by_path(c, workspace, path)))
        except (StoreUnavailable, ScriptNotFound):
            return  # the Runners it has go when somebody needs their place

    def _replace(self, script: Script) -> None:
        """Runners of its path's other versions end once nothing is left for them."""
        self._current[script.workspace, script.path] = script.hash
        for handle in self._pool.handles.values():
            theirs = handle.script
            if (theirs.workspace, theirs.path) == (script.workspace, script.path):
                handle.obsolete = theirs.hash != script.hash

    def _serve_flows(self, tags: list[str]) -> None:
        if tags != sorted(self._flow_tags):
            self._flow_tags = tags
            self._flows_dry = False
            self._told_tags = []

    def _serve(self, tags: list[str]) -> None:
        if sorted(tags) != sorted(self._tags):
            self._tags = tags
            self._dry = False
        served = sorted([*self._tags, *self._flow_tags])
        if served == self._told_tags:
            return
        try:
            self._session.run(lambda c: serve_tags(c, self._context.node, served))
            self._told_tags = served
        except StoreUnavailable:
            self._pinning = True

    # -- what gets stuck -----------------------------------------------------------

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

    def _cancel(self, wanted: frozenset[str]) -> None:
        found = self._pool.take_cancelled(wanted)
        now = monotonic()
        if found:
            send(self._completer, Outcomes([Judge.cancelled(job, 0, now) for job in found]))
        left = wanted - {job.id for job in found}
        if left:
            send(self._completer, CancelFlows(left))
            for handle in self._pool.handles.values():
                send(handle.ref, Cancel(left))

    # -- reconciling ---------------------------------------------------------------

    def _adopt(self) -> None:
        """Take over the Runners of the Puller before us."""
        for child in which_children(self._runners):
            if child.ref is None:
                continue
            try:
                told = child.ref.ask(Adopt(self.actor_ref), timeout=ASK_SECONDS)
            except (ActorDeadError, Timeout):
                continue
            if isinstance(told, Adopted):
                handle = self._pool.add(told.runner, child.ref, told.script)
                handle.in_flight = len(told.jobs)
                handle.ready = told.ready
                handle.retiring = told.draining
                self._scripts[told.script.workspace, told.script.hash] = told.script
                self._numbers = max(self._numbers, told.runner)
                self._unsettled += len(told.jobs)
                self.monitor(child.ref)

    def _reconcile_later(self, seconds: float) -> None:
        if self._reconciling is not None:
            self._reconciling.cancel()
        self._reconciling = send_after(seconds, self.actor_ref, Reconcile())

    def _release_missing(self) -> None:
        """Give back what the database says we hold and nobody has.

        The order makes it safe: (1) ask the database, (2) the Runners, (3) the Completer. A job moves
        Runner → Completer → database, so one that is found in neither 2 nor 3 was settled after 1, and
        its fence is gone. One that a Runner has sent back to us is named by that Runner until it has
        arrived; one that we have sent is in front of our question in its inbox.
        """
        try:
            held = self._session.run(lambda c: claims.held_jobs(c, self._holder))
            # Should the count ever be too high, this keeps it from stopping the claims for good.
            self._unsettled = min(self._unsettled, len(held))
            here = {job.id for queue in self._pool.waiting.values() for job in queue.jobs}
            for handle in self._pool.handles.values():
                asked = Holding(handle.returns)
                here |= handle.ref.ask(asked, timeout=ASK_SECONDS)  # type: ignore[arg-type]  # its reply
            asked = Holding(self._handovers, frozenset(here))
            here |= ask(self._completer, asked, timeout=ASK_SECONDS)
            missing = [(job, claim) for job, claim in held.items() if job not in here]
            if not missing:
                return
            logger.warning("%d jobs were in nobody's hands and go back to the queue", len(missing))
            released = self._session.run(lambda c: claims.release_jobs(c, missing))
        except (StoreUnavailable, ActorDeadError, Timeout, SupervisorError):
            # A Runner that has just ended brings its own Down; an outage ends.
            self._reconcile_later(1.0)
            return
        self._unsettled = max(0, self._unsettled - len(released))
        self._dry = False

    # -- ending --------------------------------------------------------------------

    def _drain(self) -> None:
        refs = [handle.ref for handle in self._pool.handles.values()]
        for ref in refs:
            send(ref, Drain())
        deadline = monotonic() + self._context.config.node.grace_seconds
        for ref in refs:
            assert isinstance(ref, ProcessRef)
            while not ref.exited.wait(0.05):
                if self._context.hurry.is_set() or monotonic() > deadline:
                    return

    def _show(self) -> None:
        self.info = {
            "state": "dry" if self._dry else "wet",
            "in_hand": self._pool.in_hand,
            "unsettled": self._unsettled,
            "tags": list(self._tags),
        }

"""A Runner: one warm language process, one job at a time in it, many on their way to it.

States: STARTING (frames are written ahead while the script is imported) → READY → DRAINING (gives
back what has not started, finishes what runs) → ended. A process that dies takes its Runner along:
the job that ran in it fails, what had not started goes back, and the Puller starts another Runner.

Which jobs have started is decided by the kernel, not by the process's cooperation: each frame has a
permit in a second pipe, which the process takes before it starts the job and from which we can take
it back, however busy the process is (`runtimes/permits.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any, assert_never

from pykka import ActorRef

from mill_actors.actors.attempt import Judge, Sentence
from mill_actors.actors.context import NodeContext
from mill_actors.actors.messages import (
    NOT_RUN,
    Adopt,
    Adopted,
    Broke,
    Cancel,
    Drain,
    Holding,
    Outcomes,
    Printed,
    Progress,
    Ready,
    Release,
    Returned,
    Run,
    Tick,
    Tidy,
)
from mill_actors.actors.noise import Noise
from mill_actors.actors.output import Output
from mill_actors.actors.signing import Signing
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.outcome import Outcome, Verdict
from mill_actors.jobs.script import Script
from mill_actors.runtimes.frames import BadFrame, Done, Fail, decode, encode_context, encode_run
from mill_actors.runtimes.frames import Ready as ProcessReady
from mill_actors.runtimes.warm import WarmProcess, start_process
from mill_actors.store.logs import LogChunk
from mill_actors.store.settlement import Retrial
from supervisors import PortData, PortExit, Process, Reason, send, send_after
from supervisors.port import EXITED, KILLED

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.1
#: A job that waits behind one that runs this long is taken back and goes elsewhere.
PATIENCE_SECONDS = 0.1
#: The capture file is emptied when it has grown beyond this.
MAX_CAPTURE_BYTES = 32 * 1024 * 1024
#: … which is looked after this often while nothing runs.
TIDY_SECONDS = 10.0
#: Looks at a process that does not answer what it must have ended: 5 s of ticks, not of a clock that
#: goes on while we are paused.
MAX_DOUBTS = 50
#: The time a job says it took is its process's word: believed up to a century.
MAX_DURATION_US = 1 << 52


class Runner(Process):
    """Owns one process; ends with it."""

    def init(
        self,
        context: NodeContext,
        worker: str,
        number: int,
        script: Script,
        completer: str,
        puller: ActorRef[Any],
    ) -> None:
        self._context = context
        self._number = number
        self._script = script
        self._completer = completer
        self._puller = puller
        self._log_writer = context.address("log writer")
        self._flying: dict[str, ClaimedJob] = {}
        self._next = 0
        self._head_since = 0.0
        self._ready = False
        self._draining = False
        self._ticking = False
        self._tidying = False
        self._doubts = 0
        self._noise = Noise()
        self._began = monotonic()
        self._user = ""
        self._parked: list[ClaimedJob] = []
        self._returned: dict[str, int] = {}
        self._returns = 0
        #: The job for which the process is killed; whatever else runs by then is innocent.
        self._condemned: str | None = None
        self._import_error: bytes | None = None
        limits = context.config.worker
        self._judge = Judge(script, limits)
        self._signing = Signing(context.token_key)
        self._process: WarmProcess = start_process(self.actor_ref, script, context.config)
        self._output = Output(self._process.capture, limits.max_log_bytes_per_job)
        self._show("starting")
        self._tick_later()

    def handle(
        self, message: Run | PortData | PortExit | Tick | Tidy | Cancel | Drain | Adopt | Holding
    ) -> object:
        match message:
            case PortData(_, data):
                self._hear(data)
            case Run(jobs):
                self._accept(jobs)
            case Tick():
                self._tick()
            case Tidy():
                self._tidy()
            case PortExit():
                self._bury(message)
            case Cancel(jobs):
                self._cancel(jobs)
            case Drain():
                self._drain()
            case Holding(returns):
                return self._holding(returns)
            case Adopt(puller):
                self._puller = puller
                # What is on its way to the old one arrives nowhere.
                self._returned.clear()
                self._returns = 0
                return Adopted(self._number, self._script, self._holding(0), self._ready, self._draining)
            case _:
                assert_never(message)
        return None

    def terminate(self, reason: Reason) -> None:
        process = self._process
        process.kill()
        process.wait(5.0)
        self._give_back([*self._flying.values(), *self._parked])
        process.close()

    # -- feeding -------------------------------------------------------------------

    def _accept(self, jobs: Sequence[ClaimedJob]) -> None:
        if self._draining:
            self._let_go(jobs)
        elif self._parked:
            self._parked.extend(jobs)
        else:
            self._feed(jobs)

    def _feed(self, jobs: Sequence[ClaimedJob]) -> None:
        """Write permits, then frames: a process that sees a frame finds its permit, or it was taken."""
        flying = self._flying
        if not flying:
            self._head_since = monotonic()
        parts: list[bytes] = []
        number = self._next
        sign = self._signing.sign
        variables = self._process.variables
        for job in jobs:
            if job.created_by != self._user:
                self._user = job.created_by
                parts.append(encode_context(self._process.identity(job)))
            parts.append(
                encode_run(number, job.id, job.claim, job.filled or job.args, sign(job), variables(job))
            )
            flying[job.id] = job
            number += 1
        self._process.permits.grant(self._next, len(jobs))
        self._next = number
        self._process.send(b"".join(parts))
        self._tick_later()

    def _take_back(self) -> list[ClaimedJob]:
        """Take back every job that has not started. From now on none of them can start."""
        taken = self._process.permits.take_back()
        if not taken:
            return []
        jobs = list(self._flying.values())[-taken:]
        for job in jobs:
            del self._flying[job.id]
        return jobs

    # -- hearing -------------------------------------------------------------------

    def _hear(self, data: bytes) -> None:
        try:
            replies = decode(data)
        except BadFrame:
            replies = self._noise.sound(data, self._process.capture.size())
            if self._noise.is_too_much:
                why = "the process wrote again and again what is no answer"
                self._sentence(Sentence("ProtocolBroken", why), None)
        now = monotonic()
        self._doubts = 0
        flying = self._flying
        finished: list[Outcome] = []
        retried: list[Retrial] = []
        logs: list[LogChunk] = []
        spent = 0
        for reply in replies:
            if isinstance(reply, Done | Fail):
                job = flying.get(reply.job_id)
                if job is None or job.claim != reply.claim:
                    logger.warning("%s: an answer for a job it does not hold: %s", self.name, reply.job_id)
                    continue
                del flying[reply.job_id]
                duration = reply.duration_us if 0 <= reply.duration_us < MAX_DURATION_US else 0
                spent += duration
                if reply.out != self._output.read_to or self._output.told:
                    logs += self._output.end(job, reply.out)
                if isinstance(reply, Done):
                    finished.append(Outcome(job, Verdict.SUCCESS, bytes(reply.result), duration, now))
                else:
                    self._judge.fail(
                        job, b'{"error":%b}' % bytes(reply.error), duration, now, finished, retried
                    )
            elif self._ready:
                continue  # said twice, by user code: it has no meaning any more
            elif isinstance(reply, ProcessReady):
                self._ready = True
                self._head_since = now
                self._output.skip(reply.out)
                send(self._puller, Ready(self._number, now - self._began))
            else:
                self._break(b'{"error":%b}' % bytes(reply.error), now)
        self._head_since = now
        ended = len(finished) + len(retried)
        if ended:
            send(self._completer, Outcomes(finished, retried, logs))
            size = sum([len(outcome.result) for outcome in finished])
            send(self._puller, Progress(self._number, ended, spent, size))
        self._settle_down()

    def _settle_down(self) -> None:
        if self._output.read_to > MAX_CAPTURE_BYTES and not self._parked:
            # Nobody may print while the file is emptied: hold back, wait for the one that runs.
            self._parked = self._take_back()
        if not self._flying:
            if self._output.read_to > MAX_CAPTURE_BYTES:
                self._output.empty()
            if self._parked:
                parked, self._parked = self._parked, []
                self._feed(parked)
            elif self._draining:
                self.exit()

    # -- watching ------------------------------------------------------------------

    def _tick_later(self) -> None:
        if not self._ticking:
            self._ticking = True
            send_after(TICK_SECONDS, self.actor_ref, Tick())

    def _tidy_later(self) -> None:
        if not self._tidying:
            self._tidying = True
            send_after(TIDY_SECONDS, self.actor_ref, Tidy())

    def _tidy(self) -> None:
        """Forget what threads that a job left behind print while nothing runs: it is nobody's log."""
        self._tidying = False
        if not self._flying and not self._parked:
            if self._process.capture.size() > MAX_CAPTURE_BYTES:
                self._output.empty()
            self._tidy_later()

    def _tick(self) -> None:
        self._ticking = False
        if not self._flying and self._ready:
            self._show("idle")
            self._signing.renew()
            self._tidy_later()
            return
        self._tick_later()
        now = monotonic()
        elapsed = now - self._head_since
        if not self._ready:
            limit = self._context.config.worker.start_timeout_seconds
            if now - self._began > limit:
                why = f"the script was not imported within {limit:g} s"
                self._sentence(Sentence("StartTimeout", why), None)
            return
        self._show("busy")
        if elapsed < PATIENCE_SECONDS:
            return
        self._return([*self._take_back(), *self._parked])
        self._parked = []
        if len(self._flying) != 1:
            # The second has started, so the first has ended: its answer is on the way, and what is
            # printed now is not its own. Or none had started.
            self._doubt()
            return
        head = next(iter(self._flying.values()))
        chunks = self._output.progress(head)
        if chunks:
            send(self._log_writer, Printed(chunks))
        sentence = self._judge.look(head, elapsed, self._process)
        if sentence is not None:
            self._sentence(sentence, head)

    def _doubt(self) -> None:
        """Wait for answers that must be on their way; not for ever, for somebody may have taken permits."""
        self._doubts += len(self._flying) > 1
        if self._doubts > MAX_DOUBTS:
            why = "the process has started jobs behind one that it did not answer"
            self._sentence(Sentence("ProtocolBroken", why), None)

    def _sentence(self, sentence: Sentence, job: ClaimedJob | None) -> None:
        """Kill the process; its `PortExit` settles the job that ran, with this reason.

        `job` is the one it is meant for; None: whichever runs.
        """
        if self._judge.sentence is None:
            self._judge.sentence = sentence
            self._condemned = None if job is None else job.id
        self._process.kill()

    def _cancel(self, jobs: frozenset[str]) -> None:
        if jobs.isdisjoint(self._flying) and jobs.isdisjoint(job.id for job in self._parked):
            return
        parked, self._parked = self._parked, []
        taken = [*self._take_back(), *parked]
        self._settle_cancelled([job for job in taken if job.id in jobs])
        left = [job for job in taken if job.id not in jobs]
        # Those before the last have ended: the one behind them has started.
        running = next(reversed(self._flying.values()), None)
        if running is not None and running.id in jobs:
            # What waited must not wait for a new process of ours.
            self._return(left, ends=True)
            self._sentence(Sentence("Canceled", "", is_cancel=True), running)
        elif parked:
            self._parked = left
            self._settle_down()
        else:
            self._feed_again(left)

    def _feed_again(self, jobs: list[ClaimedJob]) -> None:
        if jobs:
            self._feed(jobs)
        else:
            self._settle_down()

    def _settle_cancelled(self, jobs: Sequence[ClaimedJob]) -> None:
        if not jobs:
            return
        now = monotonic()
        finished = [self._judge.cancelled(job, 0, now) for job in jobs]
        send(self._completer, Outcomes(finished))
        send(self._puller, Progress(self._number, len(finished), NOT_RUN))

    # -- ending --------------------------------------------------------------------

    def _drain(self) -> None:
        self._draining = True
        self._show("draining")
        self._let_go([*self._take_back(), *self._parked])
        self._parked = []
        if not self._flying:
            self.exit()

    def _break(self, error: bytes, now: float) -> None:
        """The import failed: so has every job that came for it, or comes before the process has ended."""
        self._import_error = error
        send(self._puller, Broke(self._number, error))
        waiting = self._take_back()
        self._fail_all([*self._flying.values(), *waiting], error, now)

    def _fail_all(self, jobs: Iterable[ClaimedJob], error: bytes, now: float) -> None:
        finished: list[Outcome] = []
        retried: list[Retrial] = []
        logs: list[LogChunk] = []
        for job in jobs:
            logs += self._output.end(job, self._process.capture.size())
            self._judge.fail(job, error, 0, now, finished, retried)
        self._flying.clear()
        if finished or retried:
            send(self._completer, Outcomes(finished, retried, logs))
            send(self._puller, Progress(self._number, len(finished) + len(retried), NOT_RUN))

    def _bury(self, exit: PortExit) -> None:  # noqa: A002  its name everywhere
        now = monotonic()
        waiting = [*self._take_back(), *self._parked]
        self._parked = []
        running = list(self._flying.values())
        if not self._ready:
            if self._import_error is None:
                sentence = self._judge.sentence or _death(exit, "while its script was imported")
                self._import_error = sentence.error()
                send(self._puller, Broke(self._number, self._import_error))
            self._fail_all([*running, *waiting], self._import_error, now)
        else:
            for job in running:
                if self._condemned in {None, job.id}:
                    self._settle_dead(job, exit, now)
                else:
                    # It started between the end of the one we killed the process for and the kill.
                    self._let_go([job])
            self._flying.clear()
            self._return(waiting, ends=True)
        self.exit()

    def _settle_dead(self, job: ClaimedJob, exit: PortExit, now: float) -> None:  # noqa: A002
        duration = int((now - self._head_since) * 1e6)
        logs = self._output.end(job, self._process.capture.size())
        finished: list[Outcome] = []
        retried: list[Retrial] = []
        sentence = self._judge.sentence or _death(exit, "while it ran this job")
        if sentence.is_cancel:
            finished.append(self._judge.cancelled(job, duration, now))
        else:
            self._judge.fail(job, sentence.error(), duration, now, finished, retried)
        send(self._completer, Outcomes(finished, retried, logs))
        send(self._puller, Progress(self._number, 1, duration))

    def _return(self, jobs: Sequence[ClaimedJob], *, ends: bool = False) -> None:
        if not jobs:
            return
        self._returns += 1
        self._returned.update((job.id, self._returns) for job in jobs)
        if not send(self._puller, Returned(self._number, jobs, self._returns, ends)):
            self._give_back(jobs)

    def _holding(self, returns: int) -> frozenset[str]:
        """Name what is here, and what is on its way to the Puller: that is in somebody's hands too."""
        self._returned = {job: serial for job, serial in self._returned.items() if serial > returns}
        return frozenset([*self._flying, *(job.id for job in self._parked), *self._returned])

    def _let_go(self, jobs: Sequence[ClaimedJob]) -> None:
        """Give back to the queue, and tell the Puller that they are out of our hands."""
        if jobs:
            self._give_back(jobs)
            send(self._puller, Progress(self._number, len(jobs), NOT_RUN))

    def _give_back(self, jobs: Sequence[ClaimedJob]) -> None:
        if jobs:
            send(self._completer, Release(jobs))

    def _show(self, state: str) -> None:
        self.info = {
            "state": state,
            "script": f"{self._script.path} {self._script.hash}",
            "in_flight": len(self._flying),
            "pid": self._process.pid,
        }


def _death(exit: PortExit, when: str) -> Sentence:  # noqa: A002
    if exit.why not in {EXITED, KILLED}:
        how = exit.why  # then the signal is ours
    elif exit.signal is not None:
        how = f"was ended by signal {exit.signal}"
    elif exit.returncode is not None:
        how = f"exited with code {exit.returncode}"
    else:
        how = "ended"
    return Sentence("ProcessDied", f"the process {how} {when}")

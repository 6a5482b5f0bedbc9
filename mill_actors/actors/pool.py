"""The Runners of one worker, and which of them gets which job. No I/O, no messages: decisions.

A worker keeps at most `processes` Runners besides the pinned ones; the one that was idle longest
gives way. A script gets another Runner when its waiting jobs are more than its Runners can take.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import Any

from pykka import ActorRef

from mill_actors.actors.window import Window
from mill_actors.jobs.job import ClaimedJob
from mill_actors.jobs.script import Script

Version = tuple[str, str]

#: A Runner that worked this lately is expected to get more of the same.
WARM_SECONDS = 1.0

#: A script whose process did not come up is tried again after this, doubling up to the longest.
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 5.0


class Handle:
    """What the Puller knows of one Runner."""

    __slots__ = (
        "broken",
        "idle_since",
        "in_flight",
        "is_slow",
        "number",
        "obsolete",
        "pinned",
        "ready",
        "ref",
        "retired_at",
        "retiring",
        "returns",
        "script",
        "window",
    )

    def __init__(self, number: int, ref: ActorRef[Any], script: Script, window: Window) -> None:
        self.number = number
        self.ref = ref
        self.script = script
        self.window = window
        self.in_flight = 0
        self.ready = False
        #: its process could not import the script, and ends
        self.broken = False
        self.pinned = False
        self.retiring = False
        self.retired_at = 0.0
        #: it has returned what waited behind a job that still runs
        self.is_slow = False
        #: the serial of its latest `Returned`
        self.returns = 0
        #: its version has been replaced
        self.obsolete = False
        self.idle_since = monotonic()

    @property
    def room(self) -> int:
        """How many more jobs it may have in hand."""
        return 0 if self.retiring or self.broken else max(0, self.width - self.in_flight)

    @property
    def width(self) -> int:
        """How many jobs it may have in hand."""
        return 1 if self.is_slow else self.window.width


class Queue:
    """Jobs in hand that no Runner has yet, of one version."""

    __slots__ = ("jobs", "since")

    def __init__(self) -> None:
        self.jobs: deque[ClaimedJob] = deque()
        self.since = monotonic()


class Pool:
    """Handles by number, jobs by version."""

    def __init__(self, processes: int, prefetch_seconds: float) -> None:
        self.processes = processes
        self._prefetch = prefetch_seconds
        self.handles: dict[int, Handle] = {}
        self.waiting: dict[Version, Queue] = {}
        self._windows: dict[Version, Window] = {}
        self._by_version: dict[Version, list[Handle]] = {}
        self._failures: dict[Version, tuple[int, float]] = {}
        self._errors: dict[Version, bytes] = {}

    # -- Runners -------------------------------------------------------------------

    def add(self, number: int, ref: ActorRef[Any], script: Script) -> Handle:
        """Remember a Runner that has started."""
        version = (script.workspace, script.hash)
        window = self._windows.get(version)
        if window is None:
            window = self._windows[version] = Window(self._prefetch)
        handle = Handle(number, ref, script, window)
        self.handles[number] = handle
        self._by_version.setdefault(version, []).append(handle)
        return handle

    def remove(self, number: int) -> Handle | None:
        """Forget a Runner that has ended; one that never got ready counts as a failure to start."""
        handle = self.handles.pop(number, None)
        if handle is None:
            return None
        version = (handle.script.workspace, handle.script.hash)
        same = self._by_version[version]
        same.remove(handle)
        if not same:
            del self._by_version[version]
        if handle.ready:
            self._failures.pop(version, None)
            self._errors.pop(version, None)
        elif handle.broken or not handle.retiring:
            self.failed(version)
        return handle

    def broke(self, version: Version, error: bytes) -> None:
        """Remember why the latest process of this version did not come up."""
        self._errors[version] = error

    def import_error(self, version: Version) -> bytes | None:
        """Return why a version cannot run, until it may be tried again."""
        return None if self.may_start(version) else self._errors.get(version)

    def failed(self, version: Version) -> None:
        """Remember that a process of this version did not come up."""
        count = self._failures.get(version, (0, 0.0))[0] + 1
        pause = min(FIRST_BACKOFF_SECONDS * 2 ** (count - 1), LONGEST_BACKOFF_SECONDS)
        self._failures[version] = (count, monotonic() + pause)

    def may_start(self, version: Version) -> bool:
        """Whether the backoff after failures to start is over."""
        failure = self._failures.get(version)
        return failure is None or monotonic() >= failure[1]

    def runners_of(self, version: Version) -> list[Handle]:
        """Return the Runners of a version, retiring ones too."""
        return self._by_version.get(version, [])

    @property
    def unpinned(self) -> int:
        """How many Runners count against `processes`."""
        return sum(1 for handle in self.handles.values() if not handle.pinned)

    @property
    def is_full(self) -> bool:
        """Whether another unpinned Runner would be one too many."""
        return self.unpinned >= self.processes

    def evictable(self) -> Handle | None:
        """Return the unpinned Runner that was idle longest and has nothing in hand."""
        idle = [
            h
            for h in self.handles.values()
            if not h.pinned and not h.retiring and h.in_flight == 0 and h.ready
        ]
        return min(idle, key=lambda h: h.idle_since, default=None)

    def obsolete(self) -> list[Handle]:
        """Return the Runners of replaced versions that have worked off everything."""
        return [
            h
            for h in self.handles.values()
            if h.obsolete
            and not h.retiring
            and h.in_flight == 0
            and (h.script.workspace, h.script.hash) not in self.waiting
        ]

    def victim(self, for_version: Version) -> Handle | None:
        """Return the busy Runner that should make room for a version that has none.

        One whose job may end soon; the script with the most Runners gives one; among equals the one
        that started first.
        """
        busy = [
            h
            for h in self.handles.values()
            if not h.pinned and not h.retiring and (h.script.workspace, h.script.hash) != for_version
        ]
        return max(
            busy,
            key=lambda h: (
                not h.is_slow,
                len(self.runners_of((h.script.workspace, h.script.hash))),
                -h.number,
            ),
            default=None,
        )

    def is_making_room(self, within_seconds: float) -> bool:
        """Whether a Runner was told to end that lately; one that takes longer is not waited for."""
        now = monotonic()
        return any(h.retiring and now - h.retired_at < within_seconds for h in self.handles.values())

    # -- jobs ----------------------------------------------------------------------

    def hold(self, jobs: Iterable[ClaimedJob], *, front: bool = False) -> None:
        """Put jobs in hand; those that come back from a Runner go in front, in their order."""
        last: Version | None = None
        queue = None
        ordered = reversed(list(jobs)) if front else jobs
        for job in ordered:
            version = (job.workspace, job.script)
            if queue is None or version != last:
                last = version
                queue = self.waiting.get(version)
                if queue is None:
                    queue = self.waiting[version] = Queue()
            if front:
                queue.jobs.appendleft(job)
            else:
                queue.jobs.append(job)

    def take(self, version: Version, count: int) -> list[ClaimedJob]:
        """Take jobs of a version out of hand, oldest first."""
        queue = self.waiting[version]
        jobs = queue.jobs
        if count >= len(jobs):
            del self.waiting[version]
            return list(jobs)
        queue.since = monotonic()
        return [jobs.popleft() for _ in range(count)]

    def take_cancelled(self, wanted: frozenset[str]) -> list[ClaimedJob]:
        """Take these jobs out of hand, where they are."""
        found = [job for queue in self.waiting.values() for job in queue.jobs if job.id in wanted]
        for job in found:
            version = (job.workspace, job.script)
            self.waiting[version].jobs.remove(job)
            if not self.waiting[version].jobs:
                del self.waiting[version]
        return found

    @property
    def in_hand(self) -> int:
        """Jobs claimed and not yet finished by a Runner."""
        return sum(h.in_flight for h in self.handles.values()) + sum(
            len(q.jobs) for q in self.waiting.values()
        )

    @property
    def appetite(self) -> int:
        """How many jobs the Runners, and the places for Runners, want to have in hand."""
        now = monotonic()
        # A Runner that was idle counts as a place: what comes next may be another, slower script.
        wanted = sum(
            h.width if h.in_flight or now - h.idle_since < WARM_SECONDS else 1
            for h in self.handles.values()
            if not h.retiring
        )
        return wanted + max(0, self.processes - self.unpinned)

    @property
    def pipeline(self) -> int:
        """How many dedicated flows keep the pinned Runners busy: each has one step at a time, as a rule."""
        return sum(handle.width for handle in self.handles.values() if handle.pinned and handle.ready)

    def plan(self) -> list[tuple[Handle, int]]:
        """Decide who gets how many of the waiting jobs: evenly among those with room."""
        shares: list[tuple[Handle, int]] = []
        for version, queue in self.waiting.items():
            left = len(queue.jobs)
            open_handles = [h for h in self.runners_of(version) if h.room]
            open_handles.sort(key=lambda h: h.in_flight)
            for place, handle in enumerate(open_handles):
                share = min(handle.room, -(-left // (len(open_handles) - place)))
                if share:
                    shares.append((handle, share))
                    left -= share
            if left:
                # What the fuller ones had no room for goes to the emptier ones.
                for place, (handle, share) in enumerate(shares):
                    if handle in open_handles and left:
                        more = min(handle.room - share, left)
                        shares[place] = (handle, share + more)
                        left -= more
        return shares

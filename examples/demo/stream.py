"""Submits events in small batches while the results of earlier ones come in.

What is measured: from just before the call that submits an event's batch, to the moment at which
the transaction that holds its result has been committed, by one clock of one process. The batch's
own wait for room in the window is not part of it: an event begins when it is submitted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from time import monotonic

from mill_actors.events import Moved
from mill_actors.store.client import Client
from mill_actors.store.submission import Submission

#: Events in one submission.
BATCH = 100
#: Events under way at most: more would only wait, in Postgres instead of here.
WINDOW = 1000
#: Somebody else's node may have taken a job: then the database is asked.
SILENCE_SECONDS = 1.0


class Stream:
    """One run. `moved` is called by the node, from its own threads."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._changed = threading.Condition()
        self._ended: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self.ids: list[str] = []
        self.seconds = 0.0

    def moved(self, moved: Moved) -> None:
        """Take note of jobs that ended; the database says so already."""
        if moved.after.is_final:
            now = monotonic()
            with self._changed:
                self._ended.update(dict.fromkeys(moved.jobs, now))
                self._changed.notify()

    def run(self, events: Sequence[Submission], watch: Callable[[int, int], None]) -> None:
        """Submit everything, and wait for the last result; `watch` gets (submitted, ended)."""
        began = monotonic()
        waiting = iter(events)
        for batch in iter(lambda: list(islice(waiting, BATCH)), []):
            self._wait_for_room(WINDOW - len(batch), watch)
            now = monotonic()
            for receipt in self._client.submit_many(batch):
                self._begun[receipt.id] = now
                self.ids.append(receipt.id)
        self._wait_for_room(0, watch)
        self.seconds = monotonic() - began

    def latencies(self) -> list[float]:
        """Return seconds from submit to committed result, sorted, of all that this node ran."""
        return sorted(self._ended[job] - begun for job, begun in self._begun.items() if self._ended[job])

    def _wait_for_room(self, allowed: int, watch: Callable[[int, int], None]) -> None:
        while True:
            with self._changed:
                ended = len(self._ended)
                if len(self.ids) - ended > allowed:
                    self._changed.wait(SILENCE_SECONDS)
                    if len(self._ended) == ended:
                        self._ask()
                    ended = len(self._ended)
            watch(len(self.ids), ended)
            if len(self.ids) - ended <= allowed:
                return

    def _ask(self) -> None:
        # 0.0: it ended at a time that nobody saw here.
        for batch in batches([job for job in self.ids if job not in self._ended]):
            self._ended.update((result.id, 0.0) for result in self._client.results(batch))


def batches(ids: Sequence[str], size: int = 1000) -> Iterator[Sequence[str]]:
    """Cut a list into pieces."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]

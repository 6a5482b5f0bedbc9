"""What the jobs of one process print: byte ranges of its capture file become pieces of log."""

from __future__ import annotations

from mill_actors.jobs.job import ClaimedJob
from mill_actors.runtimes.capture import Capture
from mill_actors.store.logs import LogChunk

#: A piece is at most this long, so that no row and no message is huge.
MAX_PIECE_BYTES = 256 * 1024


class Output:
    """Reads each byte once. `read_to` is where the next job's output begins."""

    def __init__(self, capture: Capture, limit: int) -> None:
        self._capture = capture
        self._limit = limit
        self.read_to = 0
        #: bytes of the current job that were handed out, or dropped beyond the limit
        self.told = 0
        self._cut = False

    def skip(self, out: int) -> None:
        """Leave out what the import printed, up to `out`: it belongs to no job."""
        self.read_to = min(max(out, 0), self._capture.size())
        self.told = 0

    def progress(self, job: ClaimedJob) -> list[LogChunk]:
        """Return what the running job has printed since the last look."""
        return self._read(job, self._capture.size(), ended=False)

    def end(self, job: ClaimedJob, out: int) -> list[LogChunk]:
        """Return the rest of what a job printed; it ended when the file had `out` bytes."""
        if out < self.read_to:
            # The job truncated the file, or we did because it printed beyond its limit.
            self.read_to = 0
        chunks = self._read(job, out, ended=True)
        # We may have truncated the file after the answer was written: the next job began at 0.
        self.read_to = out if 0 <= out <= self._capture.size() else 0
        self.told = 0
        self._cut = False
        return chunks

    def empty(self) -> None:
        """Truncate the file; only while nothing runs."""
        self._capture.truncate()
        self.read_to = 0

    def _read(self, job: ClaimedJob, to: int, *, ended: bool) -> list[LogChunk]:
        chunks: list[LogChunk] = []
        while self.read_to < to and self.told < self._limit:
            wanted = min(to - self.read_to, MAX_PIECE_BYTES, self._limit - self.told)
            data = self._capture.read(self.read_to, self.read_to + wanted, wanted)
            if not data:
                break
            whole = data if ended and self.read_to + len(data) >= to else _whole(data)
            if not whole:
                # The rest of the character is still to come, or beyond the limit.
                if wanted < to - self.read_to:
                    self.told = self._limit
                break
            chunks.append(self._chunk(job, whole.decode("utf-8", "replace")))
            self.read_to += len(whole)
            self.told += len(whole)
        if self.read_to < to and self.told >= self._limit:
            if not self._cut:
                self._cut = True
                chunks.append(self._chunk(job, f"\n[output beyond {self._limit:,} bytes is left out]\n"))
                self.told += 1
            if not ended:
                # Forget it while it comes, or a job that prints for ever fills the memory.
                self._capture.truncate()
                self.read_to = 0
        return chunks

    def _chunk(self, job: ClaimedJob, text: str) -> LogChunk:
        return LogChunk(job.id, job.workspace, job.attempt, self.told, text)


def _whole(data: bytes) -> bytes:
    """Cut off a character whose last bytes are still to come."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0xC0:
            width = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if back < width else data
        if byte & 0x80 == 0:
            break
    return data

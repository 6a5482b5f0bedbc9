r"""Cut a stream of bytes into newline-terminated frames. Pure.

A frame of 100 MB arrives in hundreds of reads: its parts are kept apart and joined once,
when its end has come, so the cost stays linear.

>>> frames = Frames(max_frame_bytes=10)
>>> frames.feed(bytearray(b"one\ntwo\nthr"), 11)
b'one\ntwo\n'
>>> frames.feed(bytearray(b"ee\n"), 3)
b'three\n'
"""

from __future__ import annotations


class FrameTooLong(Exception):
    """A frame is longer than allowed; `complete` are the frames before it."""

    def __init__(self, complete: bytes) -> None:
        super().__init__()
        self.complete = complete


class Frames:
    """What was read of a stream and is not a complete frame yet."""

    def __init__(self, max_frame_bytes: int) -> None:
        self.max_frame_bytes = max_frame_bytes
        self._parts: list[bytes] = []
        self._pending = 0

    def feed(self, buffer: bytearray, size: int) -> bytes:
        """Take the first `size` bytes; give all frames that are complete now, joined.

        Raises:
            FrameTooLong: a frame without its newline has more than `max_frame_bytes`.

        """
        cut = buffer.rfind(b"\n", 0, size) + 1
        data = b""
        with memoryview(buffer) as view:
            if cut:
                self._parts.append(view[:cut].tobytes())
                data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
                self._parts.clear()
                self._pending = 0
            if cut < size:
                self._parts.append(view[cut:size].tobytes())
                self._pending += size - cut
        if len(data) > self.max_frame_bytes + 1:
            self._check(data)
        if self._pending > self.max_frame_bytes:
            raise FrameTooLong(data)
        return data

    def _check(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            end = data.index(b"\n", start)
            if end - start > self.max_frame_bytes:
                raise FrameTooLong(data[:start])
            start = end + 1

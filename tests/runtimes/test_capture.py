"""The capture file."""

from __future__ import annotations

import os
import subprocess

from mill_actors.runtimes.capture import Capture


def test_writers_append_whatever_their_descriptor() -> None:
    with Capture() as capture:
        other = os.dup(capture.fd)
        os.write(capture.fd, b"one ")
        os.lseek(other, 0, os.SEEK_SET)
        os.write(other, b"two ")
        os.close(other)
        subprocess.run(["echo", "three"], stdout=capture.fd, check=True)
        assert capture.size() == len("one two three\n")
        assert capture.read(0, capture.size(), 100) == b"one two three\n"


def test_ranges_and_limits() -> None:
    with Capture() as capture:
        os.write(capture.fd, b"0123456789")
        assert capture.read(2, 5, 100) == b"234"
        assert capture.read(2, 9, 3) == b"234"
        assert capture.read(5, 5, 100) == b""
        assert capture.read(8, 20, 100) == b"89"
        assert capture.read(50, 60, 100) == b""


def test_a_range_that_ends_before_it_begins_was_truncated_by_the_job() -> None:
    with Capture() as capture:
        os.write(capture.fd, b"before")
        os.truncate(f"/proc/self/fd/{capture.fd}", 0)
        os.write(capture.fd, b"after")
        assert capture.read(6, 5, 100) == b"after"


def test_truncating_starts_over() -> None:
    with Capture() as capture:
        os.write(capture.fd, b"before")
        capture.truncate()
        assert capture.size() == 0
        os.write(capture.fd, b"after")
        assert capture.read(0, capture.size(), 100) == b"after"


def test_it_is_not_inherited_by_accident_and_closes_once() -> None:
    capture = Capture()
    assert not os.get_inheritable(capture.fd)
    capture.close()
    capture.close()

"""Markers are in pyproject.toml; fixtures are in the plugins, by what they are about."""

from __future__ import annotations

import signal

pytest_plugins = ["tests.fix_db", "tests.fix_actors", "tests.fix_clock"]

# A shell that starts us in the background ignores SIGINT for us and for every `mill` we start, which
# is right for a `mill` of its own and wrong for those whose Ctrl-C is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

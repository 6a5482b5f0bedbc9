"""`python -m mill_actors.cli`, where the command `mill` is not installed."""

from __future__ import annotations

from mill_actors.cli import main

main()

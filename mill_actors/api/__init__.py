"""The HTTP API: Windmill's routes, over the database and nothing else.

`routing.py` says what a route is, `routes/` has them by noun, `server.py` serves them.
"""

from __future__ import annotations

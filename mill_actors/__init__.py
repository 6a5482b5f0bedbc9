"""A workflow engine: jobs in PostgreSQL, actors that run them in warm processes."""

from __future__ import annotations

__version__ = "0.1.0"

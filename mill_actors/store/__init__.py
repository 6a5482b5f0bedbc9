"""Everything that speaks SQL: the only package that imports psycopg."""

from __future__ import annotations

"""What PostgreSQL itself counts: WAL, commits, dead rows."""

from __future__ import annotations

from bench.server import Link


class Mark:
    """WAL and commits from here on.

    A commit counts if it wrote something, because it then has a transaction id, and waits for the
    disk: the ids are counted. The statistics would come up to 10 s late.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._before = self._look()

    def since(self) -> tuple[int, int]:
        """Return bytes of WAL and number of commits."""
        before, now = self._before, self._look()
        return now[0] - before[0], now[1] - before[1]

    def _look(self) -> tuple[int, int]:
        row = self._link.execute(
            "select (pg_current_wal_insert_lsn() - '0/0')::bigint, "
            "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        ).fetchone()
        assert row is not None
        return row[0], row[1]


def dead_tuples(link: Link) -> int:
    """Return the dead row versions made in this database so far: one an update, one a delete.

    Backends report when they leave, so who made them must have disconnected.
    """
    return int(
        link.scalar("select sum(n_tup_upd + n_tup_del) from pg_stat_all_tables where schemaname = 'mill'")
    )

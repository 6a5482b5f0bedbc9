"""What became of the steps inside a run's loops and branches, in counts. SQL: `sql/flow_tallies.sql`.

As many rows come back as the flow has steps, whatever the number of iterations. What it costs is a look
into an index for each body, and one for each of its children.
"""

from __future__ import annotations

from mill_actors.flows.program import FAILURE
from mill_actors.flows.tally import RowCount, RunCount, Tallies, choices, tally_inside, within
from mill_actors.store.connection import Connection
from mill_actors.store.flow_status import flow_job
from mill_actors.store.queries import sql


def read_tallies(connection: Connection, workspace: str, job: str) -> Tallies:
    """Return the counts of all that is inside the loops and branches of a flow's job, or a body's.

    Raises `JobNotFound`, and `InvalidArgs` for a job that has no steps.
    """
    with connection.transaction():
        connection.execute(sql.one_snapshot)
        found = flow_job(connection, workspace, job)
        bodies = within(found.body)
        steps = [step for body in bodies for step in body.steps]
        told = {
            "job": found.id,
            "since": found.since,
            "until": found.until,
            "steps": [FAILURE, *(step.id for step in steps)],
            "owners": [step.id for step in steps if step.bodies],
            "branching": [step.id for step in steps if step.bodies and not step.is_loop],
        }
        if not told["owners"]:
            return tally_inside(found.body, [], [])
        rows = connection.execute(sql.flow_ended_inside, told).fetchall()
        runs = []
        if found.ending is None:
            rows += connection.execute(sql.flow_queued_inside, told).fetchall()
            place = {"job": found.id, "choices": choices(found.body)}
            runs = connection.execute(sql.flow_runs_inside, place).fetchall()
    return tally_inside(found.body, [RowCount(*row) for row in rows], [RunCount(*run) for run in runs])

"""The whole tree of a node, one function.

    Node                     one_for_one
    ├─ listener              one LISTEN connection
    ├─ heartbeat             one row a node
    ├─ log writer            what running jobs print
    ├─ maintenance           one_for_one; safe on every node at once
    │  ├─ rescuer            dead nodes' jobs, admissions, expiry
    │  └─ pruner             partitions, retention
    └─ worker                rest_for_one
       ├─ completer          outcomes → one transaction
       ├─ runners            dynamic: one Runner a warm process
       └─ puller             demand → claim → dispatch

Start order is dependency order and stop order its reverse, so a graceful stop needs no path of its
own: the Puller stops first, lets running jobs end and gives the rest back, then the Runners go, then
the Completer writes what came last.
"""

from __future__ import annotations

from pykka import ActorRef

from mill_actors.actors.completer import Completer
from mill_actors.actors.context import NodeContext
from mill_actors.actors.heartbeat import Heartbeat
from mill_actors.actors.listener import Listener
from mill_actors.actors.log_writer import LogWriter
from mill_actors.actors.pruner import Pruner
from mill_actors.actors.puller import Puller
from mill_actors.actors.rescuer import Rescuer
from supervisors import ONE_FOR_ONE, REST_FOR_ONE, ChildSpec, DynamicSupervisor, Supervisor

WORKER = "worker"
#: The Puller's stop may take the whole grace; then the Runners' processes are killed.
STOP_MARGIN_SECONDS = 5.0


def start_tree(context: NodeContext) -> ActorRef[Supervisor]:
    """Start everything; returns when all of it is up, raises if something is not."""
    at = context.address
    puller = at(f"{WORKER}/puller")
    return Supervisor.spawn(
        [
            ChildSpec.of(Listener, context, (puller,), id="listener", restart_delay=1.0),
            ChildSpec.of(Heartbeat, context, at("rescuer"), (puller,), id="heartbeat"),
            ChildSpec.of(LogWriter, context, id="log writer", name=at("log writer")),
            ChildSpec.of(Supervisor, _maintenance(context), id="maintenance", max_seconds=60.0),
            ChildSpec.of(
                Supervisor,
                _worker(context),
                id=WORKER,
                name=at(WORKER),
                strategy=REST_FOR_ONE,
                max_restarts=5,
                max_seconds=30.0,
            ),
        ],
        strategy=ONE_FOR_ONE,
        max_restarts=3,
        max_seconds=60.0,
        name=at("node"),
    )


def _maintenance(context: NodeContext) -> list[ChildSpec]:
    return [
        ChildSpec.of(Rescuer, context, id="rescuer", name=context.address("rescuer"), restart_delay=1.0),
        ChildSpec.of(Pruner, context, id="pruner", restart_delay=1.0),
    ]


def _worker(context: NodeContext) -> list[ChildSpec]:
    at = context.address
    completer, runners, puller = (at(f"{WORKER}/{name}") for name in ("completer", "runners", "puller"))
    grace = context.config.node.grace_seconds + STOP_MARGIN_SECONDS
    return [
        ChildSpec.of(Completer, context, WORKER, puller, id="completer", name=completer, shutdown=grace),
        ChildSpec.of(DynamicSupervisor, id="runners", name=runners),
        ChildSpec.of(Puller, context, WORKER, runners, completer, id="puller", name=puller, shutdown=grace),
    ]

"""What the Puller keeps warm: the Runners of dedicated scripts and flows, in their current versions."""

from __future__ import annotations

from mill_actors.actors.claiming import Claiming
from mill_actors.actors.messages import (
    Deployed,
)
from mill_actors.errors import ScriptNotFound, StoreUnavailable
from mill_actors.jobs.script import Script
from mill_actors.store import scripts
from mill_actors.store.flow_versions import dedicated_tags, pinned_flows
from mill_actors.store.nodes import serve_tags
from supervisors import (
    send_after,
)

#: A pinned process that does not come up is looked after this often.
PIN_SECONDS = 1.0


class Pinning(Claiming):
    """Pinned versions, and the tags that the node serves."""

    def _pin(self) -> None:
        """Start what is dedicated and not running; let go of versions that are no longer current."""
        self._pinning = False
        wanted = self._limits.dedicated
        if not wanted:
            return
        try:
            current = self._session.run(scripts.dedicated_scripts)
            flows = self._session.run(lambda c: pinned_flows(c, wanted))
            tags = self._session.run(lambda c: dedicated_tags(c, wanted))
        except StoreUnavailable:
            self._pinning = True
            return
        mine = [
            s for s in current if "*" in wanted or s.path in wanted or f"{s.workspace}:{s.path}" in wanted
        ]
        self._serve_flows(tags)
        steps = [script for flow in flows for script in flow.scripts]
        pinned = {(s.workspace, s.hash): s for s in [*mine, *steps]}
        for script in [*current, *steps]:
            self._replace(script)
        for handle in self._pool.handles.values():
            version = (handle.script.workspace, handle.script.hash)
            if handle.pinned and version not in pinned:
                handle.pinned = False
                handle.obsolete = True
        self._pinned = pinned
        self._scripts.update(pinned)
        for version, script in pinned.items():
            runners = [h for h in self._pool.runners_of(version) if not h.retiring]
            if any(h.pinned for h in runners):
                continue
            if runners:
                runners[0].pinned = True
            elif self._pool.may_start(version):
                started = self._start(script)
                if started is not None:
                    started.pinned = True
            elif not self._pinning_later:
                self._pinning_later = True
                send_after(PIN_SECONDS, self.actor_ref, Deployed(""))
        self._serve([*self._limits.tags, *sorted({s.tag for s in mine} - set(self._limits.tags))])

    def _outdate(self, name: str) -> None:
        """A path means another version now: look which."""
        workspace, _, path = name.partition(":")
        if path.startswith("flow/"):
            return  # the next pinning sees it
        try:
            self._replace(self._session.run(lambda c: scripts.script_by_path(c, workspace, path)))
        except (StoreUnavailable, ScriptNotFound):
            return  # the Runners it has go when somebody needs their place

    def _replace(self, script: Script) -> None:
        """Runners of its path's other versions end once nothing is left for them."""
        self._current[script.workspace, script.path] = script.hash
        for handle in self._pool.handles.values():
            theirs = handle.script
            if (theirs.workspace, theirs.path) == (script.workspace, script.path):
                handle.obsolete = theirs.hash != script.hash

    def _serve_flows(self, tags: list[str]) -> None:
        if tags != sorted(self._flow_tags):
            self._flow_tags = tags
            self._flows_dry = False
            self._told_tags = []

    def _serve(self, tags: list[str]) -> None:
        if sorted(tags) != sorted(self._tags):
            self._tags = tags
            self._dry = False
        served = sorted([*self._tags, *self._flow_tags])
        if served == self._told_tags:
            return
        try:
            self._session.run(lambda c: serve_tags(c, self._context.node, served))
            self._told_tags = served
        except StoreUnavailable:
            self._pinning = True

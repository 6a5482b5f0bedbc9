"""A version of a deployed flow, ready to run."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from mill_actors.flows.definition import RawScript
from mill_actors.flows.program import Program, Step
from mill_actors.jobs.script import Script, ScriptOptions, is_preview, make_script


class FlowOptions(Struct, frozen=True, omit_defaults=True):
    """What a flow says about how it runs, beside its value."""

    dedicated: bool = False
    #: "step": the next step starts once the one before is durable; "flow": all is written at the end
    durability: Literal["step", "flow"] = "step"
    priority: int = 0
    timeout_seconds: float | None = None
    concurrency_limit: int | None = None
    concurrency_key: str | None = None
    concurrency_window_s: float | None = None


class FlowVersion:
    """A version of a deployed flow, ready to run."""

    def __init__(
        self, workspace: str, path: str, digest: str, program: Program, options: FlowOptions
    ) -> None:
        self.workspace = workspace
        self.path = path
        self.hash = digest
        self.program = program
        self.options = options
        self._inline: dict[str, Script] = {}

    def inline_script(self, step: Step) -> Script:
        """Return the version of a step's own code: a script below the flow's path, that no path means."""
        script = self._inline.get(step.id)
        if script is None:
            value = step.module.value
            assert isinstance(value, RawScript)
            options = ScriptOptions(
                tag=value.tag or None,
                concurrency_limit=value.concurrent_limit or None,
                concurrency_key=value.custom_concurrency_key or None,
                concurrency_window_s=value.concurrency_time_window_s,
                # Its inputs were wired by hand, for Windmill's rules.
                arguments="windmill",
            )
            script = self._inline[step.id] = make_script(
                self.workspace,
                f"{self.path}/{step.id}",
                value.language,
                value.content,
                options,
                preview=is_preview(self.hash),
            )
        return script

    def inline_scripts(self) -> list[Script]:
        """Return the code of all its steps."""
        return [self.inline_script(s) for s in self.program.steps() if isinstance(s.module.value, RawScript)]

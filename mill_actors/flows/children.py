"""Steps with more than one child: loops, and all branches, one after another or side by side."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from mill_actors.errors import InvalidArgs
from mill_actors.flows.definition import BranchAll, ForLoop, WhileLoop
from mill_actors.flows.ending import Endings
from mill_actors.flows.expressions import ExpressionError
from mill_actors.flows.failing import bad_stop
from mill_actors.flows.inputs import View
from mill_actors.flows.program import Step
from mill_actors.flows.state import Cause, Ended, KeepItems
from mill_actors.jobs.jsons import decode

#: Children of a parallel step under way at a time, however many there are: the rest follow.
MOST_AT_ONCE = 1000
#: Iterations of a loop over a number.
MOST_ITERATIONS = 10**9

_items = msgspec.json.Decoder(list[Raw])


class Children(Endings):
    """How loops and branches run."""

    # -- loops ---------------------------------------------------------------------

    def start_loop(self, step: Step, loop: ForLoop, view: View, iteration: int) -> None:
        """Find out what a loop runs over, and start it."""
        state = self.state
        text = self.inputs.value(loop.iterator, view)
        items: list[Raw] = []
        if text[:1] == b"[":
            items = _items.decode(text)
            state.length = len(items)
        else:
            state.length, state.counted = _count(text), True
        if state.length == 0 or not step.bodies[0].steps:
            self.record(step, None, "success", b"[]")
            return
        width: float = state.length
        if step.is_parallel and loop.parallelism is not None:
            width = self.inputs.number(loop.parallelism, view, "parallelism")
        if items:
            self.commands.append(KeepItems(step, items))
            self._items = items
        if step.is_parallel:
            state.width = max(1, int(min(width, MOST_ITERATIONS)))
            self.feed(step)
        else:
            self.next_iteration(step, iteration)

    def start_while(self, step: Step, iteration: int) -> None:
        """Start a loop that knows no end."""
        self.state.length = -1
        if step.bodies[0].steps:
            self.next_iteration(step, iteration)
        else:
            self.record(step, None, "success", b"[]")

    def next_iteration(self, step: Step, iteration: int) -> None:
        """Start an iteration of a sequential loop, or end the loop."""
        state = self.state
        if 0 <= state.length <= iteration:
            self.end_many(step, "success")
            return
        state.iteration, state.started = iteration, iteration + 1
        self.start_child(step, iteration)

    def hear_iteration(self, step: Step, event: Ended) -> None:
        """An iteration of a sequential loop has ended."""
        state = self.state
        loop = step.module.value
        assert isinstance(loop, ForLoop | WhileLoop)
        state.ended = state.iteration + 1
        if event.result is not None:
            self.at_hand[f"child.{step.id}.{state.iteration}"] = event.result
        is_good = event.status in {"success", "skipped"}
        if not is_good:
            state.failed += 1
            if not loop.skip_failures:
                self.end_many(step, "failure", handled=self.is_handled(event))
                return
        if event.stop:
            self.end_many(step, "success")
            return
        stop = step.module.stop_after_if
        if stop is not None and is_good:
            try:
                breaks = self.holds(stop, step, self.asked_of(step))
            except ExpressionError as error:
                self.fail_for_good(step, bad_stop(error, is_all=False), cause=Cause.BAD_STOP)
                return
            if breaks:
                self.end_many(step, "success")
                return
        self.next_iteration(step, state.ended)

    # -- branches ------------------------------------------------------------------

    def next_branch(self, step: Step, number: int) -> None:
        """Start the next branch after another has ended, or end the step."""
        state = self.state
        if number >= state.length:
            self.end_many(step, "success")
            return
        state.iteration, state.started = number, number + 1
        self.start_child(step, number)

    def hear_branch(self, step: Step, event: Ended) -> None:
        """A branch has ended after which the next one comes."""
        state = self.state
        state.ended = state.iteration + 1
        if event.status in {"failure", "cancelled"} and not is_forgiven(step, state.iteration):
            self.end_many(step, "failure", handled=self.is_handled(event), stop=event.stop)
        elif event.stop:
            self.end_many(step, "success", stop=event.stop)
        else:
            self.next_branch(step, state.ended)

    # -- side by side --------------------------------------------------------------

    def feed(self, step: Step) -> None:
        """Start as many children as may run beside the others; end the step after the last."""
        state = self.state
        if state.ended >= state.length:
            # The failure module has run inside those that failed.
            is_handled = state.failed > 0 and self.body.flow.failure is not None
            self.end_many(step, "failure" if state.failed else "success", handled=is_handled)
            return
        first = state.started
        room = min(state.width, MOST_AT_ONCE) - (first - state.ended)
        state.started = max(first, min(state.length, first + room))
        self.start_children(step, range(first, state.started))

    def hear_parallel(self, step: Step, event: Ended) -> None:
        """One of many has ended."""
        state = self.state
        assert event.iteration is not None
        state.ended += 1
        if event.status in {"failure", "cancelled"} and not is_forgiven(step, event.iteration):
            state.failed += 1
        self.feed(step)


def is_forgiven(step: Step, number: int) -> bool:
    """Whether the step goes on although this child of it failed."""
    value = step.module.value
    if isinstance(value, BranchAll):
        return value.branches[number].skip_failure
    return isinstance(value, ForLoop | WhileLoop) and value.skip_failures


def _count(text: bytes) -> int:
    """Return how often a loop over a number runs."""
    count = decode(text)
    is_number = isinstance(count, int | float) and not isinstance(count, bool)
    if not is_number or not 0 <= count <= MOST_ITERATIONS or count % 1:
        shown = text[:100].decode(errors="replace")
        raise InvalidArgs("iterator", f"Expected an array value in the iterator expression, found: {shown}")
    return int(count)

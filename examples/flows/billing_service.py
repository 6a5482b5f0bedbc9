"""The services that the billing flow calls: customers, metering and payments, on a port of this machine.

`python -m examples.flows.billing_service [CUSTOMERS]` runs them until Ctrl-C.

    GET  /customers               every customer
    GET  /usage/<id>?period=…     what one of them used: 429, 500 and 404 for those in trouble
    POST /charges                 {customer, period, cents}; once for each Idempotency-Key, whoever repeats it
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self

from examples.flows.billing_world import Account, make_world

CUSTOMERS = 2_000
#: What a 429 says.
RETRY_AFTER_SECONDS = 1


class Answer(NamedTuple):
    """What goes back."""

    status: int
    body: Any
    retry_after: int | None = None


class BillingService:
    """Serves within a `with`, in threads of this process; remembers every call."""

    def __init__(self, world: dict[str, Account]) -> None:
        self.world = world
        self.calls: Counter[tuple[str, str]] = Counter()
        #: Calls that came before the time which a 429 had said.
        self.too_early = 0
        self.charges: dict[str, dict[str, Any]] = {}
        self._not_before: dict[str, float] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def retried(self) -> int:
        """Return how many calls were a repeat."""
        with self._lock:
            return sum(count - 1 for count in self.calls.values())

    # -- what it answers -----------------------------------------------------------

    def customers(self) -> Answer:
        return Answer(200, [account.customer for account in self.world.values()])

    def usage(self, customer: str) -> Answer:
        account = self.world.get(customer)
        if account is None:
            return Answer(404, {"message": f"no customer {customer}"})
        with self._lock:
            self.calls["usage", customer] += 1
            call = self.calls["usage", customer]
            if account.trouble == "busy" and (call == 1 or monotonic() < self._not_before[customer]):
                self.too_early += call > 1
                self._not_before[customer] = monotonic() + RETRY_AFTER_SECONDS
                return Answer(429, {"message": "slow down"}, RETRY_AFTER_SECONDS)
        match account.trouble:
            case "unmetered":
                return Answer(404, {"message": f"{customer} is not metered"})
            case "broken":
                return Answer(500, {"message": "the meter is broken"})
            case "hiccup" if call <= 2:
                return Answer(500, {"message": "try again"})
            case _:
                return Answer(200, account.usage)

    def charge(self, key: str, told: dict[str, Any]) -> Answer:
        trouble = self.world[told["customer"]].trouble
        with self._lock:
            self.calls["charge", told["customer"]] += 1
            if trouble == "no money":
                return Answer(402, {"message": "declined"})
            if trouble == "slow bank" and self.calls["charge", told["customer"]] == 1:
                return Answer(503, {"message": "the bank does not answer"})
            charge = self.charges.setdefault(key, {"id": f"ch_{len(self.charges) + 1:05}", **told})
            if charge != {"id": charge["id"], **told}:
                return Answer(409, {"message": f"{key} was another charge"})
        return Answer(201, charge)


class _Server(ThreadingHTTPServer):
    # The default of 5 turns away what many workers ask at once.
    request_queue_size = 256
    daemon_threads = True


def _handler(service: BillingService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = self.path.partition("?")[0]
            if place == "/customers":
                self._send(service.customers())
            elif place.startswith("/usage/"):
                self._send(service.usage(place.removeprefix("/usage/")))
            else:
                self._send(Answer(404, {"message": f"there is no {place}"}))

        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(service.charge(self.headers["Idempotency-Key"], told))

        def _send(self, answer: Answer) -> None:
            body = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(body)))
            if answer.retry_after is not None:
                self.send_header("Retry-After", str(answer.retry_after))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its name in the library
            """Say nothing: thousands of lines would hide what matters."""

    return Handler


def main(count: int = CUSTOMERS) -> None:
    """Serve until Ctrl-C."""
    with BillingService(make_world(count)) as service:
        print(f'{{"url": "{service.url}"}}', flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))

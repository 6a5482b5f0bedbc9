"""What Schemathesis does not know by itself."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_: Any, value: Any) -> bytes:
    """Send what was made as it is: it is to be refused, or not, by the server."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")

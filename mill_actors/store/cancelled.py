"""What a cancelled job's result says, in Windmill's shape."""

from __future__ import annotations

import json


def cancelled_result(by: str, reason: str | None) -> bytes:
    """Return the result of a cancelled job, in Windmill's shape."""
    why = f": {reason}" if reason else ""
    message = f"Job canceled{why} by {by}"
    return json.dumps(
        {"error": {"name": "Canceled", "message": message, "reason": reason, "canceler": by}}
    ).encode()

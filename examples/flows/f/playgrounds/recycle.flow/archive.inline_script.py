"""Where the account's scripts go, and how long they stay there."""

from datetime import datetime, timedelta


def main(account: dict, now: datetime) -> dict:
    if account.get("locked"):
        raise PermissionError(f"{account['id']} is locked by support")
    return {
        "key": f"playgrounds/{now:%Y/%m}/{account['id']}.tar",
        "scripts": len(account["scripts"]),
        "until": (now + timedelta(days=30)).date().isoformat(),
    }

"""The trigger: accounts whose time is over, the oldest first. None of them ends the flow."""

from datetime import datetime


def main(accounts: list[dict], now: datetime) -> list[dict]:
    expired = [account for account in accounts if datetime.fromisoformat(account["expires_at"]) <= now]
    print(f"{len(expired)} of {len(accounts)} accounts have expired")
    return sorted(expired, key=lambda account: account["expires_at"])

"""What the team is told: which step, which user, and why."""


def main(error: dict, user: str | None) -> dict:
    about = f" for {user}" if user else ""
    message = f"CRM sync failed at step {error['step_id']}{about}: {error['message']}"
    print(message)
    return {"reported": message}

from collections import Counter


def main(actions: list[dict]) -> dict:
    failed = [action["error"]["message"] for action in actions if "error" in action]
    done = Counter(action["action"] for action in actions if "error" not in action)
    return {"done": done, "failed": failed}

def main(account: dict) -> dict:
    return {"account": account["id"], "action": "kept", "plan": account["plan"]}

"""Makes a playground account a new one, once what was in it is in the archive."""


def main(account: dict, archive: dict) -> dict:
    print(f"{account['id']}: {archive['scripts']} scripts are in {archive['key']} until {archive['until']}")
    fresh = {"id": account["id"], "plan": "playground", "scripts": [], "owner": None}
    return {"account": account["id"], "action": "recycled", "archive": archive["key"], "fresh": fresh}

def main(contact: dict) -> dict:
    return {"action": "skipped", "contact": contact["id"]}

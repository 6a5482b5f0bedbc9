"""Updates those fields of a contact that differ, and no others."""


def main(user: dict, contact: dict) -> dict:
    fields = {name: value for name, value in user.items() if contact.get(name) != value}
    print(f"{contact['id']}: {', '.join(fields)}")
    return {"action": "updated", "contact": contact["id"], "fields": fields}

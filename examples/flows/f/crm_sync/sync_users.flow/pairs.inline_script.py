def main(users: list[dict], contacts: dict[str, dict]) -> list[dict]:
    return [{"user": user, "contact": contacts.get(user["email"])} for user in users]

"""The CRM's contacts by e-mail address; two with the same one cannot be told apart."""


def main(contacts: list[dict]) -> dict[str, dict]:
    by_email: dict[str, dict] = {}
    for contact in contacts:
        email = contact["email"].lower()
        if email in by_email:
            raise ValueError(f"{email} is there twice: {by_email[email]['id']} and {contact['id']}")
        by_email[email] = contact
    return by_email

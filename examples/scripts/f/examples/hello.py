def main(name: str, times: int = 1):
    print(f"greeting {name}")
    return {"greeting": f"Hello {name}! " * times}

def main(x: int = 1):
    print("to", x)
    return x + 1

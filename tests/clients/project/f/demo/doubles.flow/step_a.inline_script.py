def main(x: int):
    print("doubling", x)
    return x * 2

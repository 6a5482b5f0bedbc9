"""The program inside a Python process: it imports a script once and runs its jobs.

It runs under any Python >= 3.11, with nothing of mill importable: standard library only
(orjson when the interpreter has it). `docs/frames.md` is its contract.
"""

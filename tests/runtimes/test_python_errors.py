"""What a failed Python job answers."""

from __future__ import annotations

import signal

from tests.runtimes.conftest import Start


def test_a_stack_has_the_users_frames_lines_and_source(python: Start) -> None:
    warm = python(
        """
        import json

        def inner(text):
            return json.loads(text)

        def main(text):
            try:
                inner(text)
            except ValueError as error:
                raise LookupError("no luck") from error
        """
    )
    error = warm.error({"text": "{"})
    assert (error["name"], error["message"]) == ("LookupError", "no luck")
    stack = error["stack"]
    assert f'File "{warm.script}", line 5, in inner\n    return json.loads(text)' in stack
    assert f'File "{warm.script}", line 9, in main\n    inner(text)' in stack
    assert f'File "{warm.script}", line 11, in main\n    raise LookupError' in stack
    assert "direct cause" in stack
    assert "bootstrap" not in stack
    assert "extra" not in error


def test_an_async_stack_has_no_frames_of_the_event_loop(python: Start) -> None:
    error = python(
        """
        import asyncio
        async def fails():
            await asyncio.sleep(0)
            raise OSError(2, "gone")
        async def main():
            await asyncio.gather(fails(), asyncio.sleep(0))
        """
    ).error()
    assert error["name"] == "FileNotFoundError"
    assert "in main" in error["stack"]
    assert "in fails" in error["stack"]
    assert "/asyncio/" not in error["stack"]


def test_attributes_of_an_exception_come_along(python: Start) -> None:
    warm = python(
        """
        import datetime
        class Declined(Exception):
            def __init__(self, code, what):
                super().__init__(f"declined: {code}")
                self.code = code
                self.what = what
        def main(odd):
            what = [1]
            if odd == "deep":
                for _ in range(600): what = [what]
            if odd == "date": what = datetime.date(2024, 2, 29)
            error = Declined(51, {"a": object()} if odd is True else {"a": what})
            error.add_note("see the manual")
            raise error
        """
    )
    error = warm.error({"odd": False})
    assert error["extra"] == {"code": 51, "what": {"a": [1]}}
    assert "see the manual" in error["stack"]
    extra = warm.error({"odd": True})["extra"]
    assert extra["code"] == "51"
    assert extra["what"].startswith("{'a': <object")
    assert warm.error({"odd": "deep"})["extra"]["what"].startswith("{'a': [[[")
    assert warm.error({"odd": "date"})["extra"]["what"] == {"a": "2024-02-29"}


def test_endless_recursion_and_huge_messages_are_cut(python: Start) -> None:
    warm = python(
        """
        def main(how):
            if how == "recurse": return main(how)
            if how == "long": raise ValueError("x" * 10_000_000)
            raise ExceptionGroup("several", [ValueError(1), KeyError("k")])
        """
    )
    error = warm.error({"how": "recurse"})
    assert error["name"] == "RecursionError"
    assert len(error["stack"]) < 10_000
    error = warm.error({"how": "long"})
    assert len(error["message"]) < 70_000
    assert "characters left out" in error["message"]
    assert "KeyError: 'k'" in warm.error({"how": "group"})["stack"]


def test_a_script_that_cannot_be_imported_is_broken(start: Start) -> None:
    for source, name, text in (
        ("def main(:\n  pass", "SyntaxError", "line 1"),
        ("import nothing_like_this", "ModuleNotFoundError", "line 1, in <module>"),
        ("x = 1\nraise SystemExit(3)", "SystemExit", "line 2, in <module>"),
        ("def helper(): ...", "NoMain", ""),
        ("main = 5", "NoMain", ""),
    ):
        warm = start("python3", source)
        error = warm.broken()
        assert error["name"] == name
        assert text in error["stack"]
        assert "bootstrap" not in error["stack"]
        assert "importlib" not in error["stack"]
        assert warm.wait() == 1


def test_an_import_that_kills_its_process(start: Start) -> None:
    assert start("python3", "import os; os._exit(3)").death() == 3
    assert start("python3", "import ctypes; ctypes.string_at(0)").death() == -signal.SIGSEGV


def test_an_import_may_print_and_its_output_is_no_jobs(start: Start) -> None:
    warm = start("python3", "print('importing', end='')\ndef main(): print('job')")
    warm.send()  # ahead of `ready`, as a node does
    assert warm.ready().out == len("importing")
    assert warm.log(warm.answer()) == "job\n"

"""The user's module is a module like any other, and this program stays out of its sight."""

from __future__ import annotations

from pathlib import Path

from tests.runtimes.conftest import Start


def test_pickle_inspect_dataclasses_and_logging_behave(python: Start) -> None:
    warm = python(
        """
        from __future__ import annotations
        import dataclasses, inspect, logging, pickle, typing

        @dataclasses.dataclass
        class Point:
            x: int
            others: list[Point] | None = None

        def main():
            copy = pickle.loads(pickle.dumps(Point(1)))
            return [
                copy == Point(1), __name__, Point.__module__, __file__,
                inspect.getsource(main).splitlines()[0], typing.get_type_hints(Point)["x"].__name__,
                logging.getLogger(__name__).name, __spec__.origin,
            ]
        """,
        filename="enrich.py",
    )
    assert warm.result() == [
        True,
        "enrich",
        "enrich",
        str(warm.script),
        "def main():",
        "int",
        "enrich",
        str(warm.script),
    ]


def test_multiprocessing_starts_workers_in_every_way(python: Start) -> None:
    warm = python(
        """
        import multiprocessing, os
        from concurrent.futures import ProcessPoolExecutor

        def square(n):
            return n * n

        def main(method):
            context = multiprocessing.get_context(method)
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                return list(pool.map(square, range(4)))
        """,
        filename="squares.py",
    )
    for method in ("fork", "spawn", "forkserver"):
        assert warm.result({"method": method}) == [0, 1, 4, 9], method
    assert warm.result({"method": "fork"}) == [0, 1, 4, 9]


def test_a_script_may_have_the_name_of_a_library(python: Start) -> None:
    for filename in ("random.py", "json.py", "process.py", "orjson.py", "results.py", "2nd-try.py"):
        warm = python(
            """
            import json, random, sys, tempfile
            def main(): return [json.loads("1"), random.randrange(1), "_mill" in __name__]
            """,
            filename=filename,
        )
        assert warm.result() == [1, 0, False], filename


def test_modules_beside_the_script_can_be_imported(python: Start, tmp_path: Path) -> None:
    warm = python("def main():\n  import beside\n  return beside.VALUE")
    (warm.script.parent / "beside.py").write_text("VALUE = 5")
    assert warm.result() == 5


def test_nothing_of_this_program_is_in_the_way(python: Start) -> None:
    warm = python(
        """
        import sys
        PATH = list(sys.path)
        def main():
            found = []
            for name in ("process", "results", "arguments", "mill_actors", "supervisors"):
                try:
                    found.append(__import__(name).__name__)
                except ImportError:
                    continue
            return [found, [p for p in PATH if "bootstrap" in p or p in ("", ".")], sys.argv,
                    sorted(vars(sys.modules["__main__"]))]
        """,
        # An installed package would be found in site-packages, by rights.
        interpreter="/usr/bin/python3",
    )
    found, path, argv, names = warm.result()
    assert found == []
    assert path == []
    assert argv == [str(warm.script)]
    assert all(name.startswith("__") for name in names)


def test_main_of_the_script_is_not_run_at_import(python: Start) -> None:
    warm = python("def main(): return 1\nif __name__ == '__main__':\n  raise SystemExit('run')")
    assert warm.result() == 1


def test_threads_and_hooks_of_the_import_stay(python: Start) -> None:
    warm = python(
        """
        import atexit, os, signal, sys, threading
        os.environ["FROM_IMPORT"] = "1"
        os.umask(0o027)
        sys.setrecursionlimit(3000)
        signal.signal(signal.SIGUSR1, lambda *a: None)
        atexit.register(print, "goodbye")
        def main():
            return [os.environ["FROM_IMPORT"], sys.getrecursionlimit(), callable(signal.getsignal(signal.SIGUSR1))]
        """
    )
    assert [warm.result() for _ in range(2)] == [["1", 3000, True]] * 2
    warm.close_input()
    assert warm.death() == 0
    assert warm.everything() == "goodbye\n"

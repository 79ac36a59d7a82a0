from __future__ import annotations

import time

from centernet2.benchmarks import timing


def test_steps_take_turns_and_warm_up_does_not_count() -> None:
    calls: list[tuple[str, int]] = []
    steps = {name: lambda i, name=name: calls.append((name, i)) for name in "ab"}
    times = timing.measure(steps, repeat=4, warm_up=2)
    assert calls == [(name, i) for i in range(6) for name in "ab"]
    assert {name: (len(t.wall), len(t.process)) for name, t in times.items()} == {
        "a": (4, 4),
        "b": (4, 4),
    }


def test_waiting_is_no_work() -> None:
    times = timing.measure({"wait": lambda i: time.sleep(0.02)}, repeat=2, warm_up=0)["wait"]
    assert min(times.wall) >= 0.02
    assert max(times.process) < min(times.wall)


def test_ratio_compares_times_of_one_round() -> None:
    # The machine was ten times slower in the second round
    assert timing.ratio([1.0, 10.0, 1.0], [2.0, 20.0, 2.0]) == 0.5


def test_summary_is_median_and_quartiles() -> None:
    assert timing.summary([3.0, 1.0, 2.0]) == {
        "median_s": 2.0,
        "quartiles_s": [1.0, 3.0],
        "rounds": 3,
    }
    assert timing.summary([3.0])["quartiles_s"] == [3.0, 3.0]


def test_machine_names_what_figures_depend_on() -> None:
    assert {"processor", "gpu", "threads", "load", "torch"} <= timing.machine().keys()

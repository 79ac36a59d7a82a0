from __future__ import annotations

from centernet2.benchmarks.targets import TargetCase, target_steps


def test_targets_and_loss_run() -> None:
    for classes in (1, 7):
        steps = target_steps(TargetCase((64, 96), images=2, boxes=5, classes=classes))
        assert len(steps) == 2
        for step in steps.values():
            step(0)


def test_cases_have_names_of_their_own() -> None:
    names = {TargetCase(boxes=b, classes=c).name for b in (5, 50) for c in (1, 80)}
    assert len(names) == 4

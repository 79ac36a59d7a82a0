from __future__ import annotations

from detectron2.utils.events import EventStorage

from centernet2.engine.progress import RecentStorage


def test_old_values_are_dropped_and_what_is_read_stays_the_same() -> None:
    recent, all_of_them = RecentStorage(3), EventStorage(3)
    for storage in (recent, all_of_them):
        for _ in range(2500):
            storage.put_scalar("loss", float(storage.iter % 7))
            storage.step()
    assert len(recent.history("loss").values()) == 1000
    for read in (lambda h: h.median(200), lambda h: h.latest(), lambda h: h.global_avg()):
        assert read(recent.history("loss")) == read(all_of_them.history("loss"))
    assert recent.latest_with_smoothing_hint() == all_of_them.latest_with_smoothing_hint()
    assert recent.iter == 2503

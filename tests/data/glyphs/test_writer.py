from __future__ import annotations

import dataclasses
import json
import multiprocessing

import numpy as np
import pytest
import torch
from PIL import Image

from centernet2.data.glyphs import writer
from centernet2.data.glyphs.draw import contact_sheet
from centernet2.data.glyphs.variants import GlyphConfig
from centernet2.data.glyphs.writer import ensure_written
from centernet2.errors import UserError

TINY = GlyphConfig(
    name="tiny",
    num_categories=6,
    num_train=5,
    num_val=3,
    image_size=(64, 96),
    objects_per_image=(1, 4),
    object_size=(12, 50),
)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_data_set_is_the_same_each_time_and_with_any_number_of_workers(tmp_path):
    first = contents(ensure_written(TINY, tmp_path / "a", num_workers=0))
    assert contents(ensure_written(TINY, tmp_path / "b", num_workers=0)) == first
    assert contents(ensure_written(TINY, tmp_path / "c", num_workers=2)) == first
    assert set(first) == {
        "glyphs.json",
        "annotations/class_image_count.json",
        "annotations/train.json",
        "annotations/val.json",
        *(f"train/{i:06d}.jpg" for i in range(1, 6)),
        *(f"val/{i:06d}.jpg" for i in range(1, 4)),
    }


def test_another_seed_makes_another_data_set(tmp_path):
    first = contents(ensure_written(TINY, tmp_path / "a"))
    other = contents(ensure_written(dataclasses.replace(TINY, seed=1), tmp_path / "b"))
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first if name.endswith(".jpg"))


def test_images_of_a_split_do_not_depend_on_the_number_of_the_other(tmp_path):
    fewer = contents(ensure_written(TINY, tmp_path / "a"))
    more = contents(ensure_written(dataclasses.replace(TINY, num_train=9), tmp_path / "b"))
    assert all(more[name] == fewer[name] for name in fewer if name.startswith("val/"))


def test_writing_leaves_random_numbers_alone(tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    ensure_written(TINY, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_what_is_there_is_not_written_again(tmp_path, monkeypatch):
    folder = ensure_written(TINY, tmp_path)
    monkeypatch.setattr(writer, "_write", lambda *_: pytest.fail("written again"))
    assert ensure_written(TINY, tmp_path) == folder == tmp_path / "tiny"


def test_other_settings_of_the_same_name_are_refused(tmp_path):
    ensure_written(TINY, tmp_path)
    with pytest.raises(UserError, match=r"seed is 0, not 4\): delete the folder"):
        ensure_written(dataclasses.replace(TINY, seed=4), tmp_path)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "tiny").mkdir()
    with pytest.raises(UserError, match="tiny is not a glyph data set"):
        ensure_written(TINY, tmp_path)


def test_an_interrupted_run_leaves_nothing_and_is_taken_up(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writer, "_write_annotations", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ensure_written(TINY, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".tiny.lock"]
    # One that was killed outright could not clean up.
    (tmp_path / ".tiny.partial" / "train").mkdir(parents=True)
    assert len(contents(ensure_written(TINY, tmp_path))) == 12
    assert not (tmp_path / ".tiny.partial").exists()


def test_a_root_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(writer, "_write", refuse)
    with pytest.raises(UserError, match=f"to {tmp_path}: no permission; set DETECTRON2_DATASETS"):
        ensure_written(TINY, tmp_path)


def _write_and_count(root, queue):
    calls = []
    original = writer._write
    writer._write = lambda *args: (calls.append(1), original(*args))
    ensure_written(TINY, root)
    queue.put(len(calls))


def test_of_several_processes_one_writes(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_write_and_count, args=(tmp_path, queue)) for _ in "abc"]
    for process in processes:
        process.start()
    counts = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert sorted(counts) == [0, 0, 1]


def test_images_have_the_size_that_the_labels_state(tmp_path):
    folder = ensure_written(TINY, tmp_path)
    content = json.loads((folder / "annotations/val.json").read_text())
    ids = [entry["id"] for entry in content["images"]]
    assert ids == [6, 7, 8]  # they go on from the training images
    for entry in content["images"]:
        with Image.open(folder / "val" / entry["file_name"]) as image:
            assert image.size == (entry["width"], entry["height"])


def test_a_contact_sheet_shows_scenes_and_labels():
    sheet = np.asarray(contact_sheet(dataclasses.replace(TINY, image_size=(64, 64)), 3, columns=2))
    tile = 64 + 2 + 64
    assert sheet.shape == (2 * tile + 6, 64 + 6 + 64, 3)
    plain, labelled = sheet[:64, :64], sheet[66:130, :64]
    assert (plain != labelled).any()
    with pytest.raises(ValueError, match="1 to 3 samples, not 4"):
        contact_sheet(TINY, 4)

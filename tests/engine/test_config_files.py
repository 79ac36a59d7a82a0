from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from centernet2.engine import build_cfg
from centernet2.errors import UserError


def written(folder: Path, text: str, name: str = "run.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_bases_and_overrides_in_order(tmp_path: Path) -> None:
    written(tmp_path, "SOLVER:\n  BASE_LR: 0.5\n  MAX_ITER: 7\n", "base.yaml")
    path = written(tmp_path, "_BASE_: base.yaml\nSOLVER:\n  MAX_ITER: 9\n")
    cfg = build_cfg(path, ["SOLVER.STEPS", "(3, 5)", "MODEL.WEIGHTS=a=b.pth"])
    assert cfg.SOLVER.BASE_LR == 0.5
    assert cfg.SOLVER.MAX_ITER == 9
    assert cfg.SOLVER.STEPS == (3, 5)
    assert cfg.MODEL.WEIGHTS == "a=b.pth"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("SOLVER.BASE_LR", "1", 1.0),
        ("SOLVER.BASE_LR", "1e-3", 1e-3),
        ("OUTPUT_DIR", "2024", "2024"),
        ("OUTPUT_DIR", "'quoted'", "quoted"),
        ("SOLVER.STEPS", "[1, 2]", (1, 2)),
        ("INPUT.MIN_SIZE_TRAIN", "(640,)", (640,)),
        ("SOLVER.AMP.ENABLED", "True", True),
    ],
)
def test_values_take_the_type_of_their_key(key: str, text: str, value: Any) -> None:
    node: Any = build_cfg(overrides=[key, text])
    for part in key.split("."):
        node = node[part]
    assert node == value
    assert type(node) is type(value)


def test_published_spelling_is_followed() -> None:
    cfg = build_cfg(overrides=["MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CAT", "7"])
    assert cfg.MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES == 7


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["SOLVER.MAX_ITR", "5"], "there is no key SOLVER.MAX_ITR; the nearest is SOLVER.MAX_ITER"),
        (["MODEL.CENTRENET.NUM_CLASSES", "5"], "the nearest is MODEL.CENTERNET.NUM_CLASSES"),
        (["solver.max_iter", "5"], "write SOLVER.MAX_ITER"),
        (["SOLVER.MAX_ITER.MORE", "5"], "there is no key SOLVER.MAX_ITER.MORE"),
        (["SOLVER.MAX_ITER", "many"], "SOLVER.MAX_ITER must be an integer .* not 'many'"),
        (["SOLVER.MAX_ITER", "2.5"], "must be an integer"),
        (["SOLVER.AMP.ENABLED", "1"], "must be True or False"),
        (["SOLVER.STEPS", "5"], r"must be a list such as \(1, 2\)"),
        (["SOLVER", "5"], "SOLVER must be a group of keys"),
        (["SOLVER.MAX_ITER"], "has no value: write SOLVER.MAX_ITER VALUE"),
        (["SOLVER.MAX_ITER", "5", "--num-gpus", "2"], "Put the option --num-gpus before"),
    ],
)
def test_mistakes_in_overrides(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_cfg(overrides=overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SOLVER:\n  MAX_ITR: 5\n", r"run\.yaml: there is no key SOLVER.MAX_ITR; the nearest"),
        ("SOLVR:\n  MAX_ITER: 5\n", r"run\.yaml: there is no key SOLVR"),
        ("SOLVER: 5\n", "SOLVER must be a group of keys"),
        ("SOLVER:\n  MAX_ITER: {a: 1}\n", "SOLVER.MAX_ITER must be an integer"),
        ("SOLVER: [\n", r"run\.yaml is not valid YAML"),
        ("", "does not hold a mapping"),
        ("- 1\n- 2\n", "does not hold a mapping"),
        ("_BASE_: gone.yaml\n", r"run\.yaml: its _BASE_ .*gone\.yaml does not exist"),
        ("_BASE_: run.yaml\n", "form a circle"),
    ],
)
def test_mistakes_in_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_cfg(written(tmp_path, text))


@pytest.mark.parametrize("in_base", [False, True])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("INPUT:\n  FORMAT: RGB\nSEED: 1\nINPUT:\n  TRAIN_SIZE: 896\n",
         r"run\.yaml: INPUT stands twice in the same group \(lines 1 and 4\)"),
        ("MODEL:\n  DLA:\n    NORM: BN\n    NORM: GN\n",
         r"MODEL\.DLA\.NORM stands twice .* \(lines 3 and 4\), where only the last counts"),
        ("SOLVER: {MAX_ITER: 5, BASE_LR: 1, MAX_ITER: 6}\n", r"MAX_ITER .* \(lines 1 and 1\)"),
        ("SOLVER:\n  'MAX_ITER': 5\n  MAX_ITER: 6\n", r"SOLVER\.MAX_ITER stands twice"),
        ("MODEL:\n  WEIGHTS: a\n_BASE_: b\n_BASE_: c\n", r"_BASE_ stands twice"),
        ("DATASETS:\n  TRAIN: [{a: 1, a: 2}]\n", r"DATASETS\.TRAIN\.a stands twice"),
    ],
)  # fmt: skip
def test_key_that_stands_twice(tmp_path: Path, text: str, message: str, in_base: bool) -> None:
    path = written(tmp_path, text)
    if in_base:
        path = written(tmp_path, "_BASE_: run.yaml\nSEED: 3\n", "child.yaml")
    with pytest.raises(UserError, match=message):
        build_cfg(path)


def test_same_key_in_two_groups_or_files_is_no_duplicate(tmp_path: Path) -> None:
    written(tmp_path, "MODEL:\n  DEVICE: cpu\nINPUT:\n  FORMAT: RGB\n", "base.yaml")
    text = (
        "_BASE_: base.yaml\nMODEL:\n  DLA: &norm {NORM: GN}\n  BIFPN: *norm\n"
        "INPUT:\n  TRAIN_SIZE: 896\n"
    )
    cfg = build_cfg(written(tmp_path, text))
    assert (cfg.INPUT.FORMAT, cfg.INPUT.TRAIN_SIZE) == ("RGB", 896)
    assert (cfg.MODEL.DLA.NORM, cfg.MODEL.BIFPN.NORM) == ("GN", "GN")


def test_group_inside_itself_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the group of line 1 is inside itself"):
        build_cfg(written(tmp_path, "&a\nMODEL: *a\n"))


def test_every_shipped_config_is_read() -> None:
    configs = sorted(Path(__file__).parents[2].joinpath("configs").rglob("*.yaml"))
    assert len(configs) > 5
    for path in configs:
        build_cfg(str(path))


@pytest.mark.parametrize("in_base", [False, True])
def test_yaml_that_builds_objects_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_base: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, '!!python/object/apply:os.system ["touch pwned"]\n')
    if in_base:
        path = written(tmp_path, "_BASE_: run.yaml\n", "child.yaml")
    with pytest.raises(UserError, match=r"run\.yaml: refused, because it asks to build Python"):
        build_cfg(path)
    assert not (tmp_path / "pwned").exists()


def test_absent_file_suggests_a_neighbour(tmp_path: Path) -> None:
    written(tmp_path, "{}", "CenterNet2_R50_1x.yaml")
    with pytest.raises(UserError, match=r"did you mean .*CenterNet2_R50_1x\.yaml"):
        build_cfg(str(tmp_path / "Centernet2_R50_1x.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_BASE_: 5\n", r"run\.yaml: _BASE_ must name a file, not 5"),
        ("_BASE_: [{a: 1}]\n", r"run\.yaml: _BASE_ must name a file"),
        ("_BASE_: .\n", r"\. is no regular file"),
        ("_BASE_: /dev/zero\n", r"/dev/zero is no regular file"),
        ("_BASE_: \"a\\0b\"\n", "cannot be read"),
        ("_BASE_: [run.yaml]\n", "form a circle"),
        ("SOLVER:\n  MAX_ITER: [" + "[1, 2], " * 5000 + "]\n", "must be an integer"),
        ("SOLVER:\n  MAX_ITER: '" + "(" * 20_000 + "'\n", "must be an integer"),
        ("SOLVER:\n  MAX_ITER: '" + "-" * 20_000 + "1'\n", "must be an integer"),
        ("MODEL: {1: 2}\n", "there is no key MODEL.1"),
    ],
)  # fmt: skip
def test_hostile_files_are_one_short_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build_cfg(written(tmp_path, text))
    assert len(str(error.value)) < 700


def test_file_of_other_characters(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"OUTPUT_DIR: \xff\xfe\n")
    with pytest.raises(UserError, match=r"run\.yaml cannot be read: 'utf-8' codec"):
        build_cfg(str(tmp_path / "run.yaml"))


def test_a_group_over_a_single_value(tmp_path: Path) -> None:
    written(tmp_path, "SOLVER: 5\n", "base.yaml")
    with pytest.raises(UserError, match=r"run\.yaml: SOLVER is a group of keys, but 5 in its _BA"):
        build_cfg(written(tmp_path, "_BASE_: base.yaml\nSOLVER: {MAX_ITER: 1}\n"))


def test_bases_that_multiply_are_refused(tmp_path: Path) -> None:
    """Each file names the next ten times: there would be 10^12 of them."""
    for number in range(12):
        bases = ", ".join([f"{number + 1}.yaml"] * 10)
        written(tmp_path, f"_BASE_: [{bases}]\n", f"{number}.yaml")
    written(tmp_path, "SEED: 1\n", "12.yaml")
    with pytest.raises(UserError, match=r"0\.yaml: its _BASE_ leads to more than 100 files"):
        build_cfg(str(tmp_path / "0.yaml"))


def test_of_several_bases_the_last_counts_most(tmp_path: Path) -> None:
    written(tmp_path, "SOLVER: {MAX_ITER: 1, BASE_LR: 1.0}\n", "a.yaml")
    written(tmp_path, "SOLVER: {MAX_ITER: 2, WARMUP_ITERS: 2}\n", "b.yaml")
    path = written(tmp_path, "_BASE_: [a.yaml, b.yaml]\nSOLVER: {WARMUP_ITERS: 3}\n")
    solver = build_cfg(path).SOLVER
    assert (solver.MAX_ITER, solver.BASE_LR, solver.WARMUP_ITERS) == (2, 1.0, 3)

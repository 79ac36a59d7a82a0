"""docs/MODEL_ZOO.md against the configs and the published parameter lists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from centernet2.engine import build_cfg

REPO = Path(__file__).resolve().parents[2]
CONFIGS = REPO / "configs"
PAGE = (REPO / "docs" / "MODEL_ZOO.md").read_text(encoding="utf-8")


def rows() -> dict[str, dict[str, str]]:
    """The rows of all tables that begin with "config", by the config's name."""
    found = {}
    titles: list[str] = []
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            titles = []
        elif not titles:
            titles = cells
        elif titles[0] == "config" and not cells[0].startswith("---"):
            name = cells[0].strip("`")
            assert name not in found, name
            assert len(cells) == len(titles), name
            found[name] = dict(zip(titles, cells))
    return found


ROWS = rows()
PUBLISHED = {name: row for name, row in ROWS.items() if "names" in row}


def header(name: str) -> str:
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if line.startswith("#"))


def test_the_tables_have_every_config_and_no_other() -> None:
    files = {str(p.relative_to(CONFIGS).with_suffix("")) for p in CONFIGS.rglob("*.yaml")}
    assert set(ROWS) == files
    assert len(PUBLISHED) == 20


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parameter_list_is_there(name: str) -> None:
    parameters = PUBLISHED[name]["names"].strip("`")
    assert (REPO / "tests" / "data" / "published_state_dicts" / f"{parameters}.json").is_file()


def test_every_parameter_list_is_in_the_tables() -> None:
    lists = {p.stem for p in (REPO / "tests" / "data" / "published_state_dicts").glob("*.json")}
    assert {row["names"].strip("`") for row in PUBLISHED.values()} == lists


@pytest.mark.parametrize("name", [n for n, row in PUBLISHED.items() if "input" in row])
def test_the_input_is_the_configs(name: str) -> None:
    cfg = build_cfg(str(CONFIGS / f"{name}.yaml"))
    if cfg.INPUT.TEST_INPUT_TYPE == "default":
        size = f"{cfg.INPUT.MIN_SIZE_TEST}/{cfg.INPUT.MAX_SIZE_TEST}"
    else:
        size = f"long side {cfg.INPUT.TEST_SIZE}"
    said = PUBLISHED[name]["input"].removesuffix(" (1)")
    assert said == f"{size} {cfg.INPUT.FORMAT}"


@pytest.mark.parametrize("name", PUBLISHED)
def test_figures_are_those_of_the_configs_header(name: str) -> None:
    (title,) = [t for t in PUBLISHED[name] if t.startswith("box AP")]
    told = re.search(r"reaches\s+([\d.]+) box AP.*\(published", header(name))
    figure = PUBLISHED[name][title].split()[0]
    if name.startswith("Base"):  # the figure in its header is that of its 1x config
        assert figure == "-"
    else:
        assert figure == (told[1] if told else "-")


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([\w./-]+)\)", PAGE):
        assert (REPO / "docs" / link).exists(), link

"""docs/REPORT.md against the configs: the same names, figures as in their headers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
CONFIGS = REPO / "configs"
PAGE = (REPO / "docs" / "REPORT.md").read_text(encoding="utf-8")
OF_THE_RELEASE = {  # rows of the report's tables that are published models as well
    "configs/CenterNet-FPN_R50_1x.yaml",
    "configs/CenterNet2_R50_1x.yaml",
    "configs/LVIS_CenterNet2_R50_1x.yaml",
    "configs/LVIS_CenterNet2_R50_Fed_1x.yaml",
}
REPORT = {str(p.relative_to(REPO)) for p in CONFIGS.glob("report/**/*.yaml")} | OF_THE_RELEASE


def rows() -> list[tuple[str, list[float]]]:
    """The config and the figures of each row, in order; a deviation and a dash are no figure."""
    found = []
    for line in PAGE.splitlines():
        named = re.match(r"\|.*\| `(configs/[^`]+)` \|", line)
        if named:
            cells = line[named.end() :].strip("|").split("|")
            figures = [cell.split()[0] for cell in cells]
            found.append((named[1], [float(f) for f in figures if f != "-"]))
    return found


ROWS = rows()


def told(config: str) -> list[float]:
    """The published figures of a config's header: mask AP if any, then box AP."""
    lines = (REPO / config).read_text(encoding="utf-8").splitlines()
    figures = []
    for kind in ("masks", "reaches"):
        for line in lines:
            if line.startswith("#") and re.match(rf"#\s+{kind}\s", line):
                of_validation = line.partition("(published")[0]
                figures += [float(f) for f in re.findall(r"\d+\.\d+", of_validation)]
    return figures


def test_the_page_names_the_configs_of_the_report_and_no_other() -> None:
    assert {config for config, _ in ROWS} == REPORT
    assert set(re.findall(r"configs/[\w./-]+\.yaml", PAGE)) == REPORT


@pytest.mark.parametrize(("config", "figures"), ROWS, ids=[config for config, _ in ROWS])
def test_the_figures_are_those_of_the_header(config: str, figures: list[float]) -> None:
    header = told(config)
    # Headers of the release give AP and APr at most; Table 1 ends with milliseconds on COCO; in the
    # row of larger input, the header tells of the misprint in words
    assert figures[: len(header)] == header
    if config in OF_THE_RELEASE or config.endswith("8_960x1600.yaml"):
        assert header
    elif "LVIS" in config or "challenge" in config:
        assert figures == header


def test_the_figures_of_the_larger_input_are_the_reports() -> None:
    ((_, figures),) = [row for row in ROWS if row[0].endswith("8_960x1600.yaml")]
    assert figures == [34.9, 24.6, 33.1, 41.4, 37.3, 24.6, 33.1, 41.4]


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([\w./-]+)\)", PAGE):
        assert (REPO / "docs" / link).exists(), link
    for tool in re.findall(r"python (tools/\w+\.py)", PAGE):
        assert (REPO / tool).exists(), tool

"""The report in miniature: every row builds, with equal settings; results are read and averaged."""

from __future__ import annotations

import json
import statistics

import pytest
from detectron2.modeling import build_model

import report_tables
from centernet2.engine import build_cfg
from report_tables import MINIATURES, REPO, Row, mean_and_std, small_overrides, table

ROWS = sorted(
    {
        (data, row.config)
        for data, miniature in MINIATURES.items()
        for rows in miniature.tables.values()
        for row in rows
    }
)


def miniature_config(data: str, config: str, iterations: int = 90):
    path = str(REPO / "configs" / f"{config}.yaml")
    overrides = small_overrides(build_cfg(path, []), MINIATURES[data], iterations)
    return build_cfg(path, [*overrides, "MODEL.DEVICE", "cpu"])


def write_result(folder, config, seed, **metrics):
    run = report_tables.run_folder(folder, config, seed)
    run.mkdir(parents=True)
    records = [{"iteration": 19, "total_loss": 3.0}, {f"bbox/{k}": v for k, v in metrics.items()}]
    lines = [json.dumps(record) for record in records]
    (run / "metrics.json").write_text("\n".join([*lines, '{"iteration": 39, "total']))


@pytest.mark.parametrize(("data", "config"), ROWS)
def test_every_row_builds_and_its_schedule_is_that_of_the_others(data, config):
    cfg = miniature_config(data, config)
    build_model(cfg)
    full = build_cfg(str(REPO / "configs" / f"{config}.yaml"), [])
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS) == (90, (60, 80))
    batch = MINIATURES[data].images_per_step
    assert pytest.approx(full.SOLVER.BASE_LR * batch / 8) == cfg.SOLVER.BASE_LR
    assert MINIATURES[data].num_classes == cfg.MODEL.ROI_HEADS.NUM_CLASSES
    # What makes a row differ from another stays as it is in the config
    for key in ("IOU_THRESHOLDS", "NMS_THRESH_TEST", "NAME", "IN_FEATURES"):
        assert cfg.MODEL.ROI_HEADS[key] == full.MODEL.ROI_HEADS[key]
    for key in ("USE_SIGMOID_CE", "USE_EQL_LOSS", "USE_FED_LOSS", "MULT_PROPOSAL_SCORE"):
        assert cfg.MODEL.ROI_BOX_HEAD[key] == full.MODEL.ROI_BOX_HEAD[key]
    assert cfg.MODEL.PROPOSAL_GENERATOR.NAME == full.MODEL.PROPOSAL_GENERATOR.NAME


def test_the_tail_of_the_equalization_loss_keeps_its_share():
    cfg = miniature_config("glyphs", "report/LVIS_CenterNet2_R50_EQL_1x")
    assert cfg.MODEL.ROI_BOX_HEAD.EQL_NUM_RAREST == 45


def test_a_table_has_means_and_deviations_over_the_runs_that_are_there(tmp_path):
    rows = (Row("A", "Softmax-CE", "x/a"), Row("B", "EQL", "b"), Row("C", "FedLoss", "c"))
    write_result(tmp_path, "x/a", 1, AP=20.0, APr=1.0)
    write_result(tmp_path, "x/a", 2, AP=21.0, APr=4.0)
    write_result(tmp_path, "b", 2, AP=7.25, APr=0.0)
    deviation = statistics.stdev([1.0, 4.0])
    assert table(rows, ("AP", "APr"), tmp_path, [1, 2]).splitlines() == [
        "| detector | loss | AP | APr | runs |",
        "|---|---|---|---|---|",
        f"| A | Softmax-CE | 20.5 ± 0.71 | 2.5 ± {deviation:.2f} | 2 |",
        "| B | EQL | 7.2 | 0.0 | 1 |",
        "| C | FedLoss | - | - | 0 |",
    ]
    assert mean_and_std([]) == "-"


def test_a_run_without_an_evaluation_has_no_result(tmp_path):
    run = report_tables.run_folder(tmp_path, "a", 1)
    run.mkdir()
    assert report_tables.result(tmp_path, "a", 1) is None
    (run / "metrics.json").write_text('{"iteration": 19, "total_loss": 3.0}\n')
    assert report_tables.result(tmp_path, "a", 1) is None


def test_finished_runs_are_not_repeated(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report_tables, "WEIGHTS", REPO / "setup.py")  # there, and not looked into
    for row in MINIATURES["bccd"].tables[1]:
        write_result(tmp_path / "bccd_20", row.config, 3, **dict.fromkeys(
            MINIATURES["bccd"].metrics, 50.0))  # fmt: skip
    arguments = ["bccd", "--seeds", "3", "--iterations", "20", "--output", str(tmp_path)]
    assert report_tables.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "5 of 5 runs are there" in printed
    assert "| CenterNet2-agnostic | 50.0 |" in printed


def test_rows_are_chosen_by_their_configs(tmp_path, capsys):
    write_result(tmp_path / "glyphs_400", "LVIS_CenterNet2_R50_Fed_1x", 1, **dict.fromkeys(
        MINIATURES["glyphs"].metrics, 17.0))  # fmt: skip
    arguments = ["glyphs", "--print-only", "--only", "LVIS_CenterNet2_R50_Fed_1x"]
    assert report_tables.main([*arguments, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Table 1" not in printed
    assert "| CenterNet2-agn. | FedLoss | 17.0 | 17.0 | 17.0 | 17.0 | 1 |" in printed
    assert "CascadeRCNN" not in printed


def test_mistakes_are_told_in_a_sentence(tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        report_tables.main(["bccd", "--table", "2"])
    assert "there is no Table 2" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        report_tables.main(["bccd", "--only", "LVIS_CenterNet2_R50_1x"])
    assert "no row has the config LVIS_CenterNet2_R50_1x" in capsys.readouterr().err
    monkeypatch.setattr(report_tables, "WEIGHTS", tmp_path / "absent.pth")
    assert report_tables.main(["bccd", "--output", str(tmp_path)]) == 1
    assert "fetch_mobilenetv2_weights.py" in capsys.readouterr().err

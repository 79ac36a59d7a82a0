from __future__ import annotations

import pytest
from detectron2.config import get_cfg
from detectron2.projects.point_rend import add_pointrend_config

import config_doc
from centernet2.config import RENAMED_KEYS, add_centernet_config


def leaves(node, prefix=""):
    for key, value in node.items():
        name = f"{prefix}{key}"
        if hasattr(value, "items"):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def test_the_page_is_current():
    page = config_doc.render(config_doc.read_all_keys())
    assert config_doc.OUTPUT.read_text() == page, "run python tools/config_doc.py"


def test_every_key_we_add_is_documented_with_its_real_default():
    before = get_cfg()
    add_pointrend_config(before)  # documented by Detectron2
    cfg = get_cfg()
    add_centernet_config(cfg)
    documented = {k.name: k for k in config_doc.read_all_keys()}
    after = dict(leaves(cfg))
    assert after.keys() - dict(leaves(before)).keys() <= documented.keys()
    for name, key in documented.items():
        assert repr(after[name]) == key.default
    assert all(name in documented for pair in RENAMED_KEYS.items() for name in pair)


def test_a_key_without_comment_is_named():
    with pytest.raises(ValueError, match=r"MODEL\.A\.B"):
        config_doc.read_keys("def f(cfg):\n    c = cfg.MODEL.A\n    c.B = 1\n")


def test_check_tells_a_stale_page(tmp_path, monkeypatch, capsys):
    stale = tmp_path / "CONFIG.md"
    stale.write_text("old")
    monkeypatch.setattr(config_doc, "OUTPUT", stale)
    assert config_doc.main(["--check"]) == 1
    assert "python tools/config_doc.py" in capsys.readouterr().err
    assert config_doc.main([]) == 0
    assert config_doc.main(["--check"]) == 0

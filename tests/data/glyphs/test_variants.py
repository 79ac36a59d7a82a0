from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from centernet2.data.glyphs.variants import MAX_CATEGORIES, VARIANTS, GlyphConfig


def ranges(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high)).map(
        lambda pair: (min(pair), max(pair))
    )


configs = st.builds(
    GlyphConfig,
    name=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True),
    num_categories=st.integers(1, MAX_CATEGORIES),
    num_train=st.integers(1, 10**6),
    num_val=st.integers(1, 10**6),
    image_size=ranges(64, 4096),
    objects_per_image=ranges(1, 200),
    object_size=st.tuples(st.integers(8, 50), st.integers(50, 1024)),
    frequencies=st.sampled_from(["uniform", "long_tailed"]),
    val_frequencies=st.sampled_from(["same", "uniform"]),
    style=st.sampled_from(["coco", "lvis"]),
    seed=st.integers(0, 2**63),
)


@given(configs)
def test_settings_survive_json(config):
    assert GlyphConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(st.integers().filter(lambda n: not 1 <= n <= MAX_CATEGORIES))
def test_any_other_number_of_categories_is_refused(number):
    with pytest.raises(ValueError, match=f"num_categories must be .* but is {number}"):
        GlyphConfig(name="a", num_categories=number)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_train", 0, "num_train must be an integer, at least 1, but is 0"),
        ("num_val", 1.5, "num_val must be an integer"),
        ("num_train", True, "num_train must be an integer"),
        ("seed", -1, "seed must be"),
        ("image_size", (300, 200), "least value first"),
        ("image_size", (32, 200), "image_size must be an integer, 64 to 4,096, but is 32"),
        ("image_size", 300, "image_size must be a pair"),
        ("object_size", (4, 30), "object_size must be"),
        ("object_size", (300, 400), "lower it or raise image_size"),
        ("objects_per_image", (1, 2, 3), "must be a pair"),
        ("frequencies", "zipf", "frequencies must be one of uniform, long_tailed, but is 'zipf'"),
        ("val_frequencies", "even", "val_frequencies must be one of same, uniform, but is 'even'"),
        ("style", "voc", "style must be one of coco, lvis, but is 'voc'"),
        ("name", "../up", "name must be made of letters"),
        ("name", "", "name must be made of letters"),
    ],
)
def test_mistakes_are_named(key, value, message):
    with pytest.raises(ValueError, match=message):
        GlyphConfig(**{"name": "a", key: value})


def test_unknown_and_missing_settings_are_named():
    with pytest.raises(ValueError, match="unknown setting 'categories'"):
        GlyphConfig.from_dict({"name": "a", "categories": 3})
    with pytest.raises(ValueError, match="'name' is missing"):
        GlyphConfig.from_dict({"num_categories": 3})


def test_the_registered_variants():
    small, medium, large, tail = VARIANTS
    assert (small.name, small.num_categories, small.style) == ("glyphs_small", 10, "coco")
    assert (medium.name, medium.num_categories, medium.style) == ("glyphs_80", 80, "coco")
    assert (large.name, large.num_categories, large.style) == ("glyphs_1203", 1203, "lvis")
    assert large.frequencies == "long_tailed"
    assert large.num_images("train") == large.num_train
    assert large.num_images("val") == large.num_val
    assert (tail.name, tail.num_categories, tail.style) == ("glyphs_tail", 60, "lvis")
    assert (tail.frequencies, tail.val_frequencies) == ("long_tailed", "uniform")


def test_a_setting_that_says_nothing_new_is_not_written():
    """Data sets from before the setting existed would count as others."""
    assert "val_frequencies" not in GlyphConfig(name="a").to_dict()
    evened = GlyphConfig(name="a", val_frequencies="uniform")
    assert evened.to_dict()["val_frequencies"] == "uniform"

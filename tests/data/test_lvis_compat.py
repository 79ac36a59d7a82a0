from __future__ import annotations

import lvis.eval
import numpy as np
import pytest

from centernet2.data.lvis_compat import repair_lvis


@pytest.fixture
def _unrepaired(monkeypatch):
    """`lvis` as it comes, whatever ran before."""
    monkeypatch.setattr(lvis.eval, "np", np)


@pytest.mark.skipif(hasattr(np, "float"), reason="this NumPy still has np.float")
@pytest.mark.usefixtures("_unrepaired")
def test_lvis_gets_the_alias_that_it_asks_for_and_numpy_does_not():
    repair_lvis()
    assert lvis.eval.np.float is float
    assert not hasattr(np, "float")
    assert lvis.eval.np.cumsum is np.cumsum
    np.testing.assert_array_equal(
        lvis.eval.np.cumsum([1, 2]).astype(dtype=lvis.eval.np.float), [1.0, 3.0]
    )


@pytest.mark.usefixtures("_unrepaired")
def test_repeating_it_changes_nothing():
    repair_lvis()
    repaired = lvis.eval.np
    repair_lvis()
    assert lvis.eval.np is repaired


@pytest.mark.usefixtures("_unrepaired")
def test_what_numpy_has_not_stays_missing():
    repair_lvis()
    with pytest.raises(AttributeError):
        _ = lvis.eval.np.no_such_function

"""Fixtures for all tests: no screen, figures closed, a fresh seeded generator."""

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")

"""Figures of training show the numbers that they are given."""

import pandas as pd
import pytest

from medimg.errors import TrainingError
from medimg.plots import plot_history, plot_strategy
from medimg.training import plan


def test_strategy_figure_writes_every_rate_and_names_what_is_frozen():
    table = plan("head_then_all", ["stem", "stage1"], epochs=3)
    ax = plot_strategy(table)
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["frozen", "1", "1", "frozen", "1", "1", "10", "1", "1"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["stem", "stage1", "head"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "3"]


def test_strategy_figure_of_one_rate_only():
    assert len(plot_strategy(plan("all", ["stem"], epochs=2)).texts) == 4


def test_history_figure_draws_losses_and_metric():
    history = pd.DataFrame(
        {"train_loss": [0.7, 0.5], "val_loss": [0.6, 0.4], "val_auc": [0.8, 0.9]},
        index=pd.RangeIndex(1, 3, name="epoch"),
    )
    ax = plot_history(history)
    lines = {line.get_label(): line.get_ydata().tolist() for line in ax.get_lines()}
    assert lines == {"training loss": [0.7, 0.5], "validation loss": [0.6, 0.4]}
    right = next(other for other in ax.figure.axes if other is not ax)
    assert right.get_lines()[0].get_ydata().tolist() == [0.8, 0.9]
    assert right.get_ylabel() == "validation AUC"


def test_history_without_numbers_is_refused():
    with pytest.raises(TrainingError, match="seconds"):
        plot_history(pd.DataFrame({"seconds": [1.0]}))

"""Figures of an evaluation: what they draw, read back from the axes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from medimg.metrics import (
    Predictions,
    auc,
    choose_threshold,
    decision_curve,
    evaluate,
    natural_frequencies,
    reliability,
    subgroups,
)
from medimg.plots import (
    plot_confusion,
    plot_decision_curve,
    plot_history,
    plot_natural_frequencies,
    plot_pr,
    plot_reliability,
    plot_roc,
    plot_subgroups,
)


@pytest.fixture
def p(rng):
    true = rng.integers(0, 2, 120)
    score = np.clip(0.3 * true + 0.7 * rng.random(120), 0, 1)
    return Predictions([str(i) for i in range(120)], true, score, classes=("normal", "ill"))


def texts(ax):
    return [t.get_text() for t in ax.get_legend().get_texts()]


def labelled(ax):
    return bool(ax.get_xlabel()) and bool(ax.get_ylabel())


def test_roc_draws_each_model_with_its_interval_and_the_threshold(p):
    flat = p.with_scores(np.full(120, 0.5))
    ax = plot_roc({"net": p, "flat": flat}, threshold=choose_threshold(p))
    assert f"net: AUC {auc(p):.2f}" in texts(ax)
    assert any(t.startswith("flat: AUC 0.50 (") for t in texts(ax))
    assert sum(t.startswith("threshold") for t in texts(ax)) == 1  # both have the same one
    assert labelled(ax)
    curve = ax.get_lines()[1].get_xydata()
    np.testing.assert_array_equal(curve[[0, -1]], [[0, 0], [1, 1]])


def test_given_axes_are_used(p):
    _, ax = plt.subplots()
    assert plot_roc(p, ax=ax) is ax


def test_precision_recall_shows_the_prevalence(p):
    ax = plot_pr(p, threshold=0.5)
    assert f"by chance: prevalence {p.y_true.mean():.2f}" in texts(ax)
    assert labelled(ax)


def test_an_area_that_is_not_defined_says_why(p):
    ill = p.subset(np.flatnonzero(p.y_true == 1))
    assert "AUC not defined: no negative image" in texts(plot_roc(ill))


def test_confusion_writes_the_counts(p):
    result = evaluate(p, threshold=0.5)
    ax = plot_confusion(result)
    written = [t.get_text().split("\n")[0] for t in ax.texts]
    counts = result.confusion.to_numpy()
    assert written == [f"{n} of {sum(row)}" for row in counts for n in row]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["normal", "ill"]
    assert ax.get_ylabel().startswith("True")
    empty = plot_confusion(pd.DataFrame([[0, 0], [1, 2]], index=["a", "b"], columns=["a", "b"]))
    assert [t.get_text() for t in empty.texts] == ["0", "0", "1 of 3\n33 %", "2 of 3\n67 %"]


def test_reliability_draws_the_bins(p):
    ax = plot_reliability(p, bins=4)
    drawn = ax.get_lines()[1].get_xydata()
    np.testing.assert_allclose(drawn, reliability(p, bins=4)[["score", "observed"]])
    assert labelled(ax)


def test_each_class_against_the_rest_has_its_own_curve(rng):
    true = rng.integers(0, 3, 90)
    many = Predictions([str(i) for i in range(90)], true, rng.dirichlet([1, 1, 1], 90),
                       classes=("a", "b", "c"))  # fmt: skip
    ax = plot_roc({name: many.one_vs_rest(k) for k, name in enumerate(many.classes)})
    assert [line.get_label()[0] for line in ax.get_lines()[1:]] == ["a", "b", "c"]
    styles = {(line.get_color(), line.get_linestyle()) for line in ax.get_lines()[1:]}
    assert len(styles) == 3


@pytest.mark.parametrize(("size", "texts"), [(12, 144), (13, 0), (100, 0)])
def test_confusion_of_many_classes_stays_on_a_page(size, texts):
    names = [f"class {k}" for k in range(size)]
    ax = plot_confusion(pd.DataFrame(np.eye(size, dtype=int), index=names, columns=names))
    assert len(ax.texts) == texts
    assert max(ax.figure.get_size_inches()) < 10


@pytest.mark.parametrize("name", ["$x$", "$5 $", r"\$a$", "$\\frac$", "a\x07b\nc", "broken\udcff"])
def test_names_from_data_are_drawn_as_they_are(name, p):
    """A class or group called ``$x$`` is no formula, and an odd byte does not stop a figure."""
    odd = Predictions(p.ids, p.y_true, p.y_score, classes=("normal", name))
    groups = pd.DataFrame({"site": [name, "north"] * 60})
    for ax in (
        plot_roc({name: odd}), plot_pr(odd), plot_confusion(evaluate(odd, threshold=0.5)),
        plot_reliability({name: odd}), plot_subgroups(subgroups(odd, groups, threshold=0.5)),
    ):  # fmt: skip
        ax.figure.canvas.draw()
    drawn = [text.get_text() for text in ax.get_yticklabels()]
    assert any("\\$" in text for text in drawn) == ("$" in name)
    assert not any("\x07" in text or "\udcff" in text for text in drawn)


def test_decision_curve_draws_the_three_ways(p):
    curve = decision_curve(p)
    ax = plot_decision_curve(curve)
    for line, name in zip(ax.get_lines(), ("model", "all", "none"), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), curve[name])
    assert labelled(ax)


def test_natural_frequencies_draw_every_person():
    counts = natural_frequencies(0.05, 0.9, 0.9)
    ax = plot_natural_frequencies(counts)
    drawn = [len(dots.get_offsets()) for dots in ax.collections]
    assert drawn == [45, 5, 95, 855]
    assert (
        ax.get_title() == "Of 140 called positive, 45 have the disease; 5 of 50 with it are missed"
    )


def test_subgroups_are_hollow_when_too_small_and_say_when_undefined(p):
    view = pd.DataFrame({"view": ["PA"] * 100 + ["AP"] * 19 + ["LL"]})
    report = subgroups(p, view, threshold=0.5)
    ax = plot_subgroups(report, metric="auc")
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "view: AP (n = 19)", "view: LL (n = 1)", "view: PA (n = 100)",
    ]  # fmt: skip
    assert any("not defined: no" in t.get_text() for t in ax.texts)
    faces = [c.lines[0].get_markerfacecolor() for c in ax.containers]
    assert faces == ["white", "#0072B2"]
    assert labelled(ax)


def test_subgroups_say_the_level_of_their_intervals(p):
    report = subgroups(p, pd.DataFrame({"view": ["PA", "AP"] * 60}), threshold=0.5, level=0.9)
    assert "(90 % interval)" in plot_subgroups(report).get_xlabel()


def test_history_draws_losses_and_the_auc():
    history = pd.DataFrame(
        {"train_loss": [0.7, 0.5], "val_loss": [0.6, 0.4], "val_auc": [0.8, 0.9]},
        index=pd.RangeIndex(1, 3, name="epoch"),
    )
    ax = plot_history(history)
    lines = {line.get_label(): line.get_ydata().tolist() for line in ax.get_lines()}
    assert lines == {"training loss": [0.7, 0.5], "validation loss": [0.6, 0.4],
                     "validation AUC": [0.8, 0.9]}  # fmt: skip
    assert ax.figure.axes == [ax]  # a second axis could be scaled to show anything
    assert ax.get_xlabel() == "epoch"


def test_a_threshold_is_written_in_full_beside_each_curve():
    p = Predictions(range(6), [0, 0, 1, 1, 1, 1], [0.001, 0.002, 0.0041, 0.0038, 0.9, 0.8])
    cut = choose_threshold(p, rule="sensitivity", floor=1.0)
    for draw in (plot_roc, plot_pr):
        labels = draw(p, threshold=cut).get_legend_handles_labels()[1]
        assert any(label.startswith(f"threshold {cut.value}") for label in labels), labels


def test_numbers_can_be_read_on_each_blue():
    """Contrast of 4.5 to 1, as WCAG asks of text."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    for hits in range(101):
        matrix = pd.DataFrame([[hits, 100 - hits], [0, 100]], list("ab"), list("ab"))
        ax = plot_confusion(matrix)
        (picture,) = ax.images
        for (row, column), text in zip(np.ndindex(2, 2), ax.texts, strict=True):
            cell = picture.cmap(picture.norm(matrix.iloc[row, column] / 100))
            pair = sorted([luminance(cell), 1.0 if text.get_color() == "white" else 0.0])
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (hits, text.get_text())
        plt.close(ax.figure)

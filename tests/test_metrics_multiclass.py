"""More than two classes: against scikit-learn, and undefined where a class is absent."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from medimg.metrics import Predictions, evaluate
from medimg.metrics.evaluation import _metrics


def five_classes(rng, n=300):
    true = rng.choice(5, n, p=[0.4, 0.2, 0.2, 0.1, 0.1])
    logits = rng.normal(size=(n, 5))
    logits[np.arange(n), true] += 1.5
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions([str(i) for i in range(n)], true, scores)


def test_every_metric_is_that_of_scikit_learn(rng):
    p = five_classes(rng)
    y, called = p.y_true, p.predicted()
    result = evaluate(p, ordinal=True)
    expected = {
        "accuracy": sk.accuracy_score(y, called),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
        "f1_macro": sk.f1_score(y, called, average="macro"),
        "kappa": sk.cohen_kappa_score(y, called),
        "kappa_quadratic": sk.cohen_kappa_score(y, called, weights="quadratic"),
        "mean_absolute_error": sk.mean_absolute_error(y, called),
        "auc_macro": sk.roc_auc_score(y, p.y_score, multi_class="ovr"),
    }
    for name, value in expected.items():
        assert result[name].value == pytest.approx(value, abs=1e-12), name
        assert result[name].low < value < result[name].high, name


def test_areas_are_those_of_scikit_learn(rng):
    p = five_classes(rng)
    table = evaluate(p).per_class
    alone = table[table["metric"] == "auc"]["value"].to_numpy()
    expected = sk.roc_auc_score(p.y_true, p.y_score, multi_class="ovr", average=None)
    np.testing.assert_allclose(alone, expected, atol=1e-12)


def test_each_class_against_the_rest_by_hand():
    scores = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]]
    p = Predictions("abcd", [0, 0, 1, 2], scores, classes=("normal", "bacterial", "viral"))
    table = evaluate(p).per_class.set_index(["class", "metric"])["value"]
    assert table["normal", "sensitivity"] == 0.5
    assert table["normal", "specificity"] == 1
    assert table["bacterial", "ppv"] == 0.5
    assert table["bacterial", "specificity"] == pytest.approx(2 / 3)
    assert table["viral", "f1"] == 1
    assert evaluate(p).confusion.loc["normal", "bacterial"] == 1


def test_an_absent_class_leaves_its_means_undefined(rng):
    p = five_classes(rng, n=60)
    p = p.subset(p.y_true != 3)
    result = evaluate(p)
    for name in ("balanced_accuracy", "auc_macro"):
        assert math.isnan(result[name].value)
        assert "class 'class 3'" in result[name].reason or "class 3" in result[name].reason
    assert math.isfinite(result["accuracy"].value)


def test_one_image_alone():
    result = evaluate(Predictions("a", [1], [[0.1, 0.8, 0.1]]), ordinal=True)
    assert result["accuracy"].value == 1
    for name in ("kappa", "kappa_quadratic", "auc_macro", "f1_macro"):
        assert math.isnan(result[name].value), name
        assert result[name].reason, name


def test_quadratic_kappa_by_hand():
    """Weights 0, 1, 4: disagreement 1 + 4 of 10 seen; expected from the margins 4, 3, 3."""
    c = np.array([[[3, 0, 1], [1, 2, 0], [0, 0, 3]]], float)
    rows, columns = c[0].sum(axis=1), c[0].sum(axis=0)
    cost = np.array([[0, 1, 4], [1, 0, 1], [4, 1, 0]])
    expected = np.sum(cost * np.outer(rows, columns)) / 10
    assert _metrics(c, True)["kappa_quadratic"][0] == pytest.approx(1 - 5 / expected)


def test_patients_with_several_images_widen_the_interval(rng):
    p = five_classes(rng, n=100)
    copies = Predictions([f"{i}{k}" for k in "ab" for i in p.ids], np.tile(p.y_true, 2),
                         np.tile(p.y_score, (2, 1)), np.tile(p.ids, 2))  # fmt: skip
    once, twice = evaluate(p), evaluate(copies)
    for name in once:
        width = once[name].high - once[name].low
        assert twice[name].high - twice[name].low == pytest.approx(width, rel=0.1), name


def test_grades_by_hand():
    """Called grades 0, 1, 1, 2, 2; truth 0, 0, 1, 2, 1: two of five are off by one grade."""
    called = [0, 1, 1, 2, 2]
    p = Predictions("abcde", [0, 0, 1, 2, 1], np.eye(3)[called] * 0.7 + 0.1)
    result = evaluate(p, ordinal=True)
    assert result["mean_absolute_error"].value == pytest.approx(0.4)
    cuts = result.per_cut.set_index(["cut", "metric"])["value"]
    assert cuts["class 1 or worse", "sensitivity"] == 1
    assert cuts["class 1 or worse", "specificity"] == 0.5
    assert cuts["class 2", "ppv"] == 0.5
    assert evaluate(p).per_cut is None
    assert "kappa_quadratic" not in evaluate(p).estimates


def test_each_cut_is_the_two_class_evaluation(rng):
    p = five_classes(rng)
    table = evaluate(p, ordinal=True).per_cut.set_index(["cut", "metric"])["estimate"]
    for k in (1, 3, 4):
        cut = p.at_least(k)
        alone = evaluate(cut, threshold=0.5)
        for metric in ("sensitivity", "specificity", "ppv", "npv", "auc"):
            assert table[cut.positive, metric] == alone[metric]


def test_class_names_that_are_words_of_ours_do_no_harm():
    """Classes called "true" or "spread" once could be taken for a kind of reason."""
    p = Predictions("ab", [0, 0], [[1, 0, 0], [1, 0, 0]], classes=("spread", "true", "f1"))
    table = evaluate(p).per_class.set_index(["class", "metric"])["reason"]
    assert table["true", "f1"] == "no image is of, or was called, class 'true'"
    assert table["f1", "auc"] == "no positive image"
    assert evaluate(p)["balanced_accuracy"].reason == "no image is of class 'true'"
    braces = Predictions("ab", [0, 0], [0.1, 0.2], classes=("{x}", "{0.y}"))
    assert evaluate(braces)["balanced_accuracy"].reason == "no image is of class '{0.y}'"

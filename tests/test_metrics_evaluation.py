"""Metrics of the two-by-two table: by hand, against scikit-learn, at the edges."""

import inspect
import math
import re

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from medimg import metrics
from medimg.errors import MetricsError
from medimg.metrics import (
    Predictions,
    choose_threshold,
    confusion_matrix,
    evaluate,
    ppv_npv_at,
    rates,
    subgroups,
)


def of_table(tp, fp, fn, tn, **more):
    """Predictions with these cells at a threshold of 0.5."""
    true = [1] * tp + [0] * fp + [1] * fn + [0] * tn
    score = [0.9] * (tp + fp) + [0.1] * (fn + tn)
    return Predictions([str(i) for i in range(len(true))], true, score, **more)


def random_predictions(rng, n=400, **more):
    true = rng.integers(0, 2, n)
    score = np.round(np.clip(0.3 * true + 0.7 * rng.random(n), 0, 1), 2)
    return Predictions([str(i) for i in range(n)], true, score, **more)


def test_a_table_by_hand():
    result = evaluate(of_table(tp=40, fp=20, fn=10, tn=130), threshold=0.5)
    expected = {
        "prevalence": 0.25, "accuracy": 0.85, "sensitivity": 0.8, "specificity": 130 / 150,
        "ppv": 40 / 60, "npv": 130 / 140, "f1": 80 / 110, "balanced_accuracy": 0.8 / 2 + 130 / 300,
        "kappa": 1 - 30 / (200 * 0.25 * 140 / 200 + 200 * 0.75 * 60 / 200),
    }  # fmt: skip
    for name, value in expected.items():
        assert result[name].value == pytest.approx(value, abs=1e-12), name
        assert result[name].low < value < result[name].high, name
    assert result["recall"] is result["sensitivity"]
    assert result["precision"] is result["ppv"]
    assert result.confusion.to_numpy().tolist() == [[130, 20], [10, 40]]


def test_every_metric_is_that_of_scikit_learn(rng):
    p = random_predictions(rng)
    y, called = p.y_true, p.predicted(0.5)
    result = evaluate(p, threshold=0.5)
    expected = {
        "accuracy": sk.accuracy_score(y, called),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
        "sensitivity": sk.recall_score(y, called),
        "specificity": sk.recall_score(y, called, pos_label=0),
        "ppv": sk.precision_score(y, called),
        "npv": sk.precision_score(y, called, pos_label=0),
        "f1": sk.f1_score(y, called),
        "kappa": sk.cohen_kappa_score(y, called),
        "auc": sk.roc_auc_score(y, p.y_score),
        "average_precision": sk.average_precision_score(y, p.y_score),
    }
    for name, value in expected.items():
        assert result[name].value == pytest.approx(value, abs=1e-12), name
    np.testing.assert_array_equal(
        confusion_matrix(p, threshold=0.5).to_numpy(), sk.confusion_matrix(y, called)
    )


@pytest.mark.parametrize(
    ("cells", "undefined"),
    [
        ((5, 0, 5, 0), {"specificity": "no negative", "auc": "no negative",
                        "balanced_accuracy": "class 'negative'"}),
        ((0, 5, 0, 5), {"sensitivity": "no positive", "balanced_accuracy": "class 'positive'",
                        "auc": "no positive", "average_precision": "no positive"}),
        ((0, 0, 5, 5), {"ppv": "called positive"}),
        ((5, 5, 0, 0), {"npv": "called negative"}),
        ((0, 0, 0, 5), {"f1": "was called, class 'positive'", "sensitivity": "no positive",
                        "kappa": "of one class"}),
    ],
)  # fmt: skip
def test_zero_cells_are_undefined_with_a_reason_never_0(cells, undefined):
    result = evaluate(of_table(*cells), threshold=0.5)
    for name, words in undefined.items():
        assert math.isnan(result[name].value), name
        assert words in result[name].reason, name
    for estimate in result.estimates.values():
        assert not (math.isnan(estimate.value) and not estimate.reason)


@pytest.mark.parametrize(("score", "called"), [(0.3, 0), (0.7, 1)])
def test_constant_scores_rank_nothing(score, called):
    true = [1] * 6 + [0] * 14
    result = evaluate(Predictions([str(i) for i in range(20)], true, [score] * 20), threshold=0.5)
    assert result["auc"].value == 0.5
    assert result["auc"].low < 0.4
    assert result["auc"].high > 0.6
    assert result["average_precision"].value == pytest.approx(0.3)
    assert result["sensitivity"].value == called
    assert result["kappa"].value == 0
    undefined = result["npv" if called else "ppv"]
    assert math.isnan(undefined.value)
    assert "no image was called" in undefined.reason


def test_one_image_alone():
    result = evaluate(of_table(1, 0, 0, 0), threshold=0.5)
    assert result["sensitivity"].value == 1
    assert result["sensitivity"].low == pytest.approx(1 / (1 + 1.959963984540054**2))
    assert math.isnan(result["auc"].value)


def test_images_of_one_patient_count_less():
    """Each image three times over must not make the interval narrower than the images once."""
    alone = of_table(tp=40, fp=20, fn=10, tn=130)
    copies = Predictions(
        [f"{i}-{k}" for i in alone.ids for k in range(3)], np.repeat(alone.y_true, 3),
        np.repeat(alone.y_score, 3), np.repeat(alone.ids, 3),
    )  # fmt: skip
    once, thrice = evaluate(alone, threshold=0.5), evaluate(copies, threshold=0.5)
    for name in once:
        assert thrice[name].value == pytest.approx(once[name].value), name
        narrower = (once[name].high - once[name].low) / (thrice[name].high - thrice[name].low)
        assert narrower == pytest.approx(1, abs=0.12), name


def test_ppv_at_the_test_sets_prevalence_is_the_ppv():
    result = evaluate(of_table(tp=40, fp=20, fn=10, tn=130), threshold=0.5)
    values = ppv_npv_at(0.25, result["sensitivity"], result["specificity"])
    assert values.ppv.value == pytest.approx(result["ppv"].value)
    assert values.npv.value == pytest.approx(result["npv"].value)


def test_warnings_tell_what_a_reader_must_know():
    p = of_table(tp=4, fp=2, fn=1, tn=13)
    result = evaluate(p)
    assert "20 images (patients not known: each image counts as one patient)" in repr(result)
    text = " ".join(result.warnings)
    assert "threshold 0.5 (by default: none was chosen on validation data)" in repr(result)
    assert "only 5 images in the smaller class" in text
    assert "patients are not known" in text


@pytest.mark.parametrize("bad", [-0.1, 1.5, float("nan")])
def test_a_threshold_out_of_range_is_refused(bad):
    with pytest.raises(MetricsError, match="threshold is"):
        evaluate(of_table(1, 1, 1, 1), threshold=bad)


TAKE_A_LEVEL = [
    name for name in metrics.__all__
    if inspect.isfunction(getattr(metrics, name))
    and "level" in inspect.signature(getattr(metrics, name)).parameters
]  # fmt: skip


@pytest.mark.parametrize("name", TAKE_A_LEVEL)
@pytest.mark.parametrize("level", [95, 0, 1, -0.5, float("nan")])
def test_a_level_in_per_cent_is_refused_everywhere(name, level):
    p = of_table(2, 1, 1, 2)
    arguments = {
        "wilson": (9, 10),
        "bootstrap": (lambda sums: sums[:, 0], [[1.0], [2.0]]),
        "mean_by_patient": ([1.0, 2.0],),
        "share_by_patient": ([True, False],),
        "auc_difference": (p, p),
        "subgroups": (p, pd.DataFrame({"sex": list("FMFMFM")})),
        "sample_size": (),
    }.get(name, (p,))
    more = {
        "sample_size": {"sensitivity": 0.9, "half_width": 0.05},
        "subgroups": {"threshold": 0.5},
        "rates": {"threshold": 0.5},
    }.get(name, {})
    with pytest.raises(MetricsError, match=f"level is {level}; expected a share"):
        getattr(metrics, name)(*arguments, level=level, **more)


def test_the_same_report_twice(rng):
    p = random_predictions(rng, n=60)
    assert repr(evaluate(p, threshold=0.5)) == repr(evaluate(p, threshold=0.5))


def test_second_names_stand_beside_the_first():
    result = evaluate(of_table(tp=4, fp=2, fn=1, tn=13), threshold=0.5)
    assert "sensitivity (recall)" in repr(result)
    assert "ppv (precision)" in repr(result)
    assert result["ap"] is result["average_precision"]


def test_rates_are_those_of_the_evaluation(rng):
    p = random_predictions(rng, patient_ids=[str(i // 3) for i in range(400)])
    result, alone = evaluate(p, threshold=0.4), rates(p, threshold=0.4)
    assert {name: result[name] for name in alone} == alone


def test_a_class_of_one_patient_leaves_what_joins_the_classes_without_an_interval(rng):
    """63 of 100 bootstrap samples hold that patient; the others say nothing of the class."""
    truth = np.repeat([1, 0], 30)
    scores = np.clip(0.7 * rng.random(60) + 0.3 * truth, 0, 1)
    people = ["big"] * 30 + [f"p{n}" for n in range(30)]
    found = evaluate(Predictions(range(60), truth, scores, people))
    for name in ("f1", "kappa", "balanced_accuracy", "average_precision"):
        assert math.isfinite(found[name].value)
        assert math.isnan(found[name].low), name
        assert "bootstrap samples define it" in found[name].reason


@pytest.mark.parametrize("images", [1, 20])
def test_a_class_of_one_patient_leaves_the_mean_area_without_an_interval(rng, images):
    truth = np.r_[np.repeat([0, 1, 2], 20), [3] * images]
    scores = 0.6 * rng.dirichlet(np.ones(4), len(truth)) + 0.4 * np.eye(4)[truth]
    people = [*map(str, range(60)), *["one"] * images]
    found = evaluate(Predictions(range(len(truth)), truth, scores, people))["auc_macro"]
    assert math.isfinite(found.value)
    assert math.isnan(found.low)
    assert "one patient alone" in found.reason


def test_kappa_is_0_and_defined_if_only_the_calls_or_only_the_truth_are_one_class():
    def kappa(truth, scores):
        return evaluate(Predictions(range(6), truth, scores))["kappa"]

    assert kappa([0, 0, 0, 1, 1, 1], [0.1] * 6).value == 0
    assert kappa([0] * 6, [0.1, 0.9] * 3).value == 0
    assert "of one class, and all are called that class" in kappa([0] * 6, [0.1] * 6).reason


def test_rows_of_patients_are_called_patients(rng):
    truth = rng.integers(0, 2, 40)
    films = Predictions(range(40), truth, rng.random(40), [f"p{n // 2}" for n in range(40)])
    people = films.aggregate()
    assert people.count_text == "20 patients"
    cut = choose_threshold(people.subset(range(15)))
    assert "(15 patients, " in str(cut)
    told = evaluate(people.with_scores(people.y_score), threshold=cut).warnings
    assert told[0].startswith("15 of these patients were also used")
    assert re.match(r"only \d+ patients in the smaller class", told[1])
    sites = pd.DataFrame({"site": ["A"] * 15 + ["B"] * 5})
    assert "patients of positive" in subgroups(people, sites, threshold=cut).warnings[0]
    assert "units" in films.aggregate([f"u{n // 2}" for n in range(40)]).count_text

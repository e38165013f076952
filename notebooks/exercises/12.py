"""Exercises of notebook 12, your own study."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from medimg.exercises import Exercise, Made, Mistake, Problem

ENTRIES = (
    "question",
    "intended_use",
    "primary",
    "threshold_rule",
    "subgroups",
    "success",
    "limits",
)
MEASURES = ("auc", "sensitivity", "specificity", "ppv", "npv", "accuracy", "balanced_accuracy")


def _protocol(answer: Any) -> dict[str, Any]:
    """Look at a protocol: that it has all entries."""
    missing = [name for name in ENTRIES if not answer.get(name)]
    if missing:
        raise Problem(f"The protocol lacks: {', '.join(missing)}.")
    return dict(answer)


def _sealed(protocol: dict[str, Any], folder: Any) -> bool:
    path = folder / "protocol.json"
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")) == protocol


def _known(protocol: dict[str, Any], studies: Any) -> bool:
    groups = protocol["subgroups"]
    return isinstance(groups, list) and set(groups) <= set(studies.columns)


def _audit(answer: Any) -> tuple[int, pd.DataFrame]:
    """Look at an audit: a count and a table."""
    torn, table = answer
    if torn is ... or table is ...:
        raise Problem("One of the two is still missing.")
    if not {"shortcut", "auc", "n"} <= set(table.columns):
        raise Problem("The second is not the table that `datasets.audit_shortcuts` returns.")
    return int(torn), table


def _torn(studies: Any) -> int:
    return int(studies.groupby("patient_id")["split"].nunique().gt(1).sum())


def _kept(studies: Any) -> int:
    return int((studies["split"] != "test").sum())


def _learned(answer: Any) -> str:
    """Look at a training: the fingerprint of the images that it learned from."""
    return str(answer.fingerprint)


def _of(data: Any, *splits: str) -> str:
    """Return the fingerprint of the images of some splits."""
    from medimg.training.data import fingerprint

    some = data.subset(np.isin(data.splits, splits))
    return str(fingerprint(some.images, some.labels))


def _report(answer: Any) -> tuple[Any, list[str]]:
    """Look at a report: the evaluation, and the images it is of."""
    names = pd.read_csv(answer.predictions, dtype=str)["image_id"]
    return answer.evaluation, sorted(names)


def _names(studies: Any, *splits: str) -> list[str]:
    return sorted(studies.loc[studies["split"].isin(splits), "image_id"].astype(str))


def _by_hand(evaluation: Any) -> bool:
    return "validation" not in getattr(evaluation.threshold, "chosen_on", "")


def _same_images(evaluation: Any) -> bool:
    return any("to choose the threshold" in warning for warning in evaluation.warnings)


def _pictures(answer: Any) -> tuple[list[Any], int]:
    """Look at a figure: its plain pictures, and how many axes have something laid over one."""
    axes = [ax for ax in answer.figure.axes if ax.images]
    if not axes:
        raise Problem("There is no picture in this figure.")
    pictures = [np.asarray(ax.images[0].get_array()) for ax in axes]
    return pictures, sum(len(ax.images) > 1 for ax in axes)


def _rows(pictures: list[Any], data: Any) -> set[int]:
    """Return which image of the data each picture is; -1 for none."""
    rows = set()
    for picture in pictures:
        if picture.shape != data.images.shape[1:]:
            rows.add(-1)
            continue
        scale = 255 if picture.max() <= 1 else 1
        apart = np.abs(data.images - scale * picture.astype(float)).mean(axis=(1, 2))
        rows.add(int(apart.argmin()) if apart.min() < 1 else -1)
    return rows


def _wrong(report: Any) -> set[str]:
    """Return the names of the images that were called wrongly."""
    table = pd.read_csv(report.predictions, dtype={"image_id": str})
    called = table["y_score"] >= report.evaluation.threshold.value
    return set(table.loc[called != (table["y_true"] == 1), "image_id"])


def _shown(value: Any, data: Any) -> set[str]:
    return {str(data.ids[row]) for row in _rows(value[0], data)}


def _kept_rules(answer: Any) -> dict[str, bool]:
    """Look at a self-check: each rule, and whether it is kept."""
    return {str(rule): bool(kept) for rule, kept in answer.items()}


def _fails(word: str) -> Any:
    """Return a test for a rule that is not kept."""
    return lambda value: any(word in rule and not kept for rule, kept in value.items())


EXERCISES = (
    Exercise(
        name="12-protocol",
        question="Write the protocol of your study, and seal it.",
        kind=Made("a dictionary with the entries of the protocol", look=_protocol),
        expected=lambda protocol, folder, studies: (
            protocol["primary"] in MEASURES and "validation" in str(protocol["threshold_rule"])
            and _known(protocol, studies) and _sealed(protocol, folder)
        ),
        right="From now on it stands. If something has to change, say so in the report, and why.",
        hints=(
            "Begin with the question: which patients, which finding, and who says what is true?",
            "`primary` is one measure, such as `\"auc\"`; `subgroups` is a list of columns of "
            "`studies`.",
            "`seal(protocol)` writes the file. Seal again after each change that you make now.",
        ),
        mistakes=(
            Mistake(
                "Name exactly one primary measure, as `metrics.evaluate` calls it: auc, sensitivity, "
                "specificity... With two, you could choose the better one afterwards.",
                when=lambda value: value["primary"] not in MEASURES,
            ),
            Mistake(
                "Say on which images the threshold will be chosen: the validation images.",
                when=lambda value: "validation" not in str(value["threshold_rule"]),
            ),
            Mistake(
                "The subgroups are a list of columns that `studies` has.",
                when=lambda value, studies: not _known(value, studies),
            ),
            Mistake(
                "The file does not hold this protocol: seal it.",
                when=lambda value, folder: not _sealed(value, folder),
            ),
        ),
    ),
    Exercise(
        name="12-audit",
        question="How many patients are in more than one split, and which shortcuts predict the label?",
        kind=Made("a list of two: the count and the table", look=_audit),
        expected=lambda pair, studies: (
            pair[0] == _torn(studies) and pair[1]["n"].max() <= _kept(studies)
        ),
        right="Note the strongest shortcut and its interval: it belongs in the limits. If you test "
        "many, some look important by chance.",
        hints=(
            "`studies.groupby(\"patient_id\")[\"split\"].nunique()` counts each patient's splits.",
            "`studies[studies[\"split\"] != \"test\"]` leaves the test images out.",
        ),
        mistakes=(
            Mistake(
                "The audit read the labels of the test images. Leave them out.",
                when=lambda value, studies: value[1]["n"].max() > _kept(studies),
            ),
            Mistake(
                "You counted splits or images. Count patients with more than one split.",
                when=lambda value, studies: value[0] != _torn(studies),
            ),
        ),
    ),
    Exercise(
        name="12-train",
        question="Train on the training images, and on no others.",
        kind=Made("a training: what `training.fit_head` returns", look=_learned),
        expected=lambda seen, data: seen == _of(data, "train"),
        right="The fingerprint proves it: these are the training images and their labels.",
        hints=(
            "`datasets.decode(studies, size=160)` reads all images once.",
            "`data.subset(\"train\")` takes those of one split.",
        ),
        mistakes=(
            Mistake(
                "The network has seen the test images: this is no longer a test.",
                when=lambda value, data: value in (
                    _of(data, "train", "val", "test"), _of(data, "train", "test"),
                    _of(data, "test"),
                ),
            ),
            Mistake(
                "The network learned from validation images, too: nothing is left to choose a "
                "threshold on.",
                when=lambda value, data: value in (_of(data, "train", "val"), _of(data, "val")),
            ),
            Mistake(
                "These are not the training images of `data`. Did you decode again with other "
                "settings?",
                when=lambda value: True,
            ),
        ),
    ),
    Exercise(
        name="12-test",
        question="Evaluate once, on the test images, at the threshold of the validation images.",
        kind=Made("a report: what `reports.write_report` returns", look=_report),
        expected=lambda pair, studies: (
            pair[1] == _names(studies, "test") and not _by_hand(pair[0])
            and not _same_images(pair[0])
        ),
        right="That was the one use of the test images.",
        hints=(
            "`training.predict(trained.model, part)` scores the images of one split.",
            "`metrics.choose_threshold(validated, rule=\"sensitivity\", floor=0.9)`, where "
            "`validated` are the predictions for the validation images.",
        ),
        mistakes=(
            Mistake(
                "These are not the test images, or not all of them.",
                when=lambda value, studies: value[1] != _names(studies, "test"),
            ),
            Mistake(
                "The threshold was chosen on these very images, so the rates are too good. Choose it "
                "on the validation images.",
                when=lambda value: _same_images(value[0]),
            ),
            Mistake(
                "The threshold was given by hand. Choose it by your rule with "
                "`metrics.choose_threshold`, and give that as it is.",
                when=lambda value: _by_hand(value[0]),
            ),
        ),
    ),
    Exercise(
        name="12-errors",
        question="Draw images that were called wrongly, with their maps.",
        kind=Made("a figure of images and maps", look=_pictures),
        expected=lambda drawn, report, data: (
            -1 not in _rows(drawn[0], data) and drawn[1] > 0
            and 1 <= len(_rows(drawn[0], data)) <= 6 and _shown(drawn, data) <= _wrong(report)
        ),
        right="Describe what you see. A reason is a guess until an experiment has tested it.",
        hints=(
            "`tested.predicted(threshold.value) != tested.y_true` says which calls were wrong.",
            "`explain.explain(trained.model, images, method=\"gradcam\", target=1)` makes the maps.",
            "`plots.plot_map_grid(images, {\"Grad-CAM\": maps})` draws both.",
        ),
        mistakes=(
            Mistake(
                "One of these pictures is not an image of `data`.",
                when=lambda value, data: -1 in _rows(value[0], data),
            ),
            Mistake(
                "One of these images was called correctly, or is not in the test set.",
                when=lambda value, report, data: not _shown(value, data) <= _wrong(report),
            ),
            Mistake("No map is laid over the images.", when=lambda value: value[1] == 0),
            Mistake("Draw six images at most.", when=lambda value: len(value[0]) > 12),
        ),
    ),
    Exercise(
        name="12-report",
        question="Finish the report, until it keeps all rules.",
        kind=Made("the result of `self_check`", look=_kept_rules),
        expected=lambda rules: len(rules) > 1 and all(rules.values()),
        right="The files agree with the protocol. Whether they are clear, only a reader can say: "
        "give the folder to one.",
        hints=(
            "Run `self_check(folder, sealed)` and read which rule is not kept.",
            "`reports.model_card(card, folder / \"model_card.html\", evaluation=..., groups=...)` "
            "writes the card; `limits=protocol[\"limits\"]` belongs in it.",
        ),
        mistakes=(
            Mistake(
                "The report is not there yet: do the steps above first.", when=_fails("are there"),
            ),
            Mistake(
                "The protocol is not the one that you sealed before. If you had to change it, say "
                "so; do not exchange it.",
                when=_fails("sealed"),
            ),
            Mistake("The threshold is not from validation images.", when=_fails("threshold")),
            Mistake(
                "The primary measure of the protocol has no interval in the report.",
                when=_fails("primary"),
            ),
            Mistake("The report has no patient identifiers, so it counts images.", when=_fails("patients")),
            Mistake(
                "The protocol promised subgroups that the report does not have. Give "
                "`write_report` the table `studies`.",
                when=_fails("subgroups"),
            ),
            Mistake(
                "The model card does not state the limits of the protocol.", when=_fails("limits"),
            ),
        ),
    ),
)  # fmt: skip

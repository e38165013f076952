"""What people must know and say: the model card, and the checklists TRIPOD+AI and CLAIM.

The checklists' items have the originals' numbers and order, and our own, shorter words; before
submitting a paper, fill in the originals.
"""

import os
import platform
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

import medimg
from medimg.metrics import Evaluation, SubgroupReport
from medimg.plots.canvas import metric_name
from medimg.reports.page import page
from medimg.reports.sections import TILES, group_section, metric_table
from medimg.storage import write_together


@dataclass(frozen=True)
class ModelCard:
    """What only people know about a model; fields left empty are shown as not stated.

    References
    ----------
    Mitchell M et al. (2019) Model cards for model reporting. FAT*.
    """

    name: str
    version: str = ""
    intended_use: str = ""
    users: str = ""
    out_of_scope: str = ""
    model: str = ""
    training_data: str = ""
    evaluation_data: str = ""
    reference_standard: str = ""
    limits: str = ""
    ethics: str = ""
    licence: str = ""
    contact: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the fields that were left empty."""
        return tuple(f.name for f in fields(self) if not getattr(self, f.name).strip())


def model_card(
    card: ModelCard, path: str | os.PathLike[str], *, evaluation: Evaluation | None = None,
    groups: SubgroupReport | None = None,
) -> None:  # fmt: skip
    """Write a model card as one HTML page: intended use, data, metrics by group, limits.

    Parameters
    ----------
    card : ModelCard
    path : path
        Of the page to write.
    evaluation : Evaluation, optional
        On the test set; without one the card says that nothing was measured.
    groups : SubgroupReport, optional
        Metrics by subgroup; without one the card says that no group was looked at.

    Raises
    ------
    OSError
        When the page cannot be written.
    """
    said = [(metric_name(f.name), getattr(card, f.name).strip() or "Not stated")
            for f in fields(card) if f.name not in ("name", "limits")]  # fmt: skip
    warnings = [w for found in (evaluation, groups) if found is not None for w in found.warnings]
    html = page(
        "card.html", title=f"Model card: {card.name}", card=card, warnings=warnings,
        said=pd.DataFrame(said, columns=["", "Statement"]), evaluation=evaluation,
        measured=None if evaluation is None else metric_table(evaluation), **group_section(groups),
    )  # fmt: skip
    write_together({Path(path): html})


def checklist(
    path: str | os.PathLike[str], *, card: ModelCard | None = None,
    evaluation: Evaluation | None = None, groups: SubgroupReport | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Write both lists as one HTML page, with what is answered and what is not.

    Parameters
    ----------
    path : path
        Of the page to write.
    card, evaluation, groups : optional
        Answers are drawn from these where they hold one.

    Returns
    -------
    DataFrame
        One row per item, text throughout: ``list, item, section, topic, key, answer``, the answer
        empty where open; items of one key share an answer.

    References
    ----------
    Collins GS et al. (2024) TRIPOD+AI statement. BMJ 385:e078378. Tejani AS et al. (2024) CLAIM:
    2024 update. Radiol Artif Intell 6:e240300.
    """
    items = pd.read_csv(Path(__file__).with_name("checklists.csv"), dtype=str)
    found = _answers(card or ModelCard(""), evaluation, groups)
    items["answer"] = [found.get(key, "").strip() for key in items["key"]]
    title = "Reporting checklists: what is answered, what is not"
    html = page("checklist.html", title=title, tables=items.groupby("list", sort=False))
    write_together({Path(path): html})
    return items


def _answers(
    card: ModelCard, evaluation: Evaluation | None, groups: SubgroupReport | None
) -> dict[str, str]:
    """Answer what the card and the numbers answer; everything else is for people to say."""
    found = {
        "intended_use": f"{card.intended_use} {card.users}",
        "data_source": f"{card.training_data} {card.evaluation_data}",
        "model": card.model, "reference_standard": card.reference_standard,
        "limits": card.limits, "ethics": card.ethics,
    }  # fmt: skip
    if evaluation is None:
        return found
    made = sorted({e.method for e in evaluation.estimates.values() if e.method})
    main = [f"{name} {evaluation[name]:.2f}" for name in TILES if name in evaluation]
    found |= {
        "metrics": f"{', '.join(evaluation)}.".replace("_", " "),
        "intervals": f"{100 * evaluation.level:g} % confidence intervals: {'; '.join(made)}.",
        "performance": f"{'; '.join(main)}.".replace("_", " "),
        "counts": f"Test set: {evaluation.count_text}.",
        "software": f"medimg {medimg.__version__}, Python {platform.python_version()}.",
    }
    if evaluation.threshold is not None and evaluation.threshold.chosen_on:
        found["threshold"] = f"Probability; positive from {evaluation.threshold}."
    if groups is not None:
        kinds = [*dict.fromkeys(groups.table["attribute"])]
        found["performance"] += f" Metrics and gaps by {', '.join(kinds)}: see the report."
        if "site" in kinds:
            found["performance_sites"] = "Metrics by site; see the report."
    return found

"""The model card: what someone must know before using a model, on one page."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

import pandas as pd

import medimg
from medimg.metrics import Evaluation, SubgroupReport
from medimg.plots.groups import metric_name
from medimg.reports.page import shown, write_page
from medimg.reports.sections import group_section


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
    card: ModelCard,
    path: str | os.PathLike[str],
    *,
    evaluation: Evaluation | None = None,
    groups: SubgroupReport | None = None,
) -> None:
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
    said = [
        (metric_name(f.name), getattr(card, f.name).strip() or "Not stated")
        for f in fields(card)
        if f.name not in ("name", "limits")
    ]
    limits = [card.limits.strip()] if card.limits.strip() else []
    measured, by_class = None, ""
    if evaluation is None:
        limits.append("Nothing was measured on a test set.")
    else:
        limits += [f"{warning[:1].upper()}{warning[1:]}." for warning in evaluation.warnings]
        # sensitivity is a share of the ill alone, so that the sum of all would mislead
        sizes = evaluation.confusion.sum(axis=1)
        by_class = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        measured = pd.DataFrame(
            [(metric_name(name), shown(e)) for name, e in evaluation.estimates.items()],
            columns=["Metric", f"Value ({100 * evaluation.level:g} % interval)"],
        )
    if groups is None:
        limits.append("No subgroup of patients was looked at: it may work worse for some.")
    else:
        limits += [f"{warning[:1].upper()}{warning[1:]}." for warning in groups.warnings]
    if card.missing:
        limits.append(f"This card leaves open: {', '.join(card.missing).replace('_', ' ')}.")
    by_group = group_section(groups)
    write_page(
        "card.html",
        path,
        title=f"Model card: {card.name}",
        version=medimg.__version__,
        said=pd.DataFrame(said, columns=["", "Statement"]),
        measured=measured,
        by_class=by_class,
        threshold=None if evaluation is None else evaluation.threshold,
        n_images=0 if evaluation is None else evaluation.n_images,
        n_patients=0 if evaluation is None else evaluation.n_patients,
        limits=limits,
        groups=by_group["groups"],
        figures=by_group["group_figures"],
    )

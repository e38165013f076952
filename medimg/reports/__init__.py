"""One-page reports that can be mailed: everything, figures too, is in the one HTML file.

`write_report` writes what a test set says about a model; `model_card` what a user must know before
using it; `checklist` which items of TRIPOD+AI and CLAIM are answered and which are not.
"""

from medimg.reports.card import ModelCard, checklist, model_card
from medimg.reports.report import Report, scores_table, write_report

__all__ = ["ModelCard", "Report", "checklist", "model_card", "scores_table", "write_report"]

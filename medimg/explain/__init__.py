"""What a network looked at, and how far that picture can be trusted.

:func:`explain` makes the maps; :func:`pointing_game`, :func:`iou_at_matched_area`,
:func:`energy_inside`, :func:`road`, :func:`cascade_randomisation` and :func:`agreement` test
them; :func:`compare_methods` puts every method to every test; :func:`plant_marker` makes a
shortcut that a good AUC hides.
"""

from medimg.explain.inspection import Target, frozen_eval
from medimg.explain.localisation import MapTest, energy_inside, iou_at_matched_area, pointing_game
from medimg.explain.maps import CLASSLESS, METHODS, explain
from medimg.explain.sanity import (
    agreement,
    cascade_randomisation,
    compare_methods,
    randomise_weights,
    road,
)
from medimg.explain.shortcut import Planted, plant_marker

__all__ = [
    "CLASSLESS", "METHODS", "MapTest", "Planted", "Target", "agreement", "cascade_randomisation",
    "compare_methods", "energy_inside", "explain", "frozen_eval", "iou_at_matched_area",
    "plant_marker", "pointing_game", "randomise_weights", "road",
]  # fmt: skip

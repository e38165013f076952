"""What a network looked at, and how far that picture can be trusted.

:func:`explain` makes the maps; :func:`pointing_game`, :func:`iou_at_matched_area`,
:func:`energy_inside`, :func:`road`, :func:`cascade_randomisation` and :func:`agreement` put them to
the test; :func:`compare_methods` sets every method against every test; :func:`plant_marker` makes
the shortcut on which a good AUC misleads.
"""

from medimg.explain.attention import attention_maps, attention_rollout
from medimg.explain.cams import CAM_METHODS, class_activation_maps
from medimg.explain.compare import baseline_maps, compare_methods
from medimg.explain.faithfulness import RoadScore, road
from medimg.explain.gradients import integrated_gradients
from medimg.explain.inspection import ClassScore, inspecting
from medimg.explain.localisation import (
    Localisation,
    energy_inside,
    iou_at_matched_area,
    pointing_game,
)
from medimg.explain.maps import METHODS, explain
from medimg.explain.occlusion import occlusion_maps
from medimg.explain.sanity import Agreement, agreement, cascade_randomisation, randomise_weights
from medimg.explain.shortcut import Planted, plant_marker

__all__ = [
    "CAM_METHODS",
    "METHODS",
    "Agreement",
    "ClassScore",
    "Localisation",
    "Planted",
    "RoadScore",
    "agreement",
    "attention_maps",
    "attention_rollout",
    "baseline_maps",
    "cascade_randomisation",
    "class_activation_maps",
    "compare_methods",
    "energy_inside",
    "explain",
    "inspecting",
    "integrated_gradients",
    "iou_at_matched_area",
    "occlusion_maps",
    "plant_marker",
    "pointing_game",
    "randomise_weights",
    "road",
]

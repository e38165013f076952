"""medimg: the thin library under a course on classifying medical images.

Each module can be read in ten minutes; README.md holds the map. Nothing heavy is imported here:
``medimg.images``, ``medimg.deid`` and ``medimg.metrics`` work without torch.
"""

__version__ = "0.2.0"

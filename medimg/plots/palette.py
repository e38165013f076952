"""Colours of Okabe and Ito, which a colour-blind person tells apart, each with its own dashes."""

from typing import Final

BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREEN: Final = "#009E73"
PINK: Final = "#CC79A7"
GREY: Final = "#767676"
STYLES: Final = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PINK, ":"))
"""Line colours with dashes, so that lines also differ in black and white."""

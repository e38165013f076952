"""Change whole batches at random, on the device, as another scanner or position would have.

The draw is apart from its application: ``sample`` draws the numbers for a batch, ``apply`` uses
them and is a pure function, ``augment`` does both.
"""

from medimg.augment.change import apply, augment, equalized
from medimg.augment.corruptions import corrupt
from medimg.augment.draw import Draw, sample, still
from medimg.augment.settings import Augment

__all__ = ["Augment", "Draw", "apply", "augment", "corrupt", "equalized", "sample", "still"]

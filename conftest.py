"""For every test and notebook alike: the sample, and no progress bars in compared outputs."""

import os

os.environ["TQDM_DISABLE"] = "1"
for name in ("MEDIMG_DATASET", "MEDIMG_DATA"):
    os.environ.pop(name, None)

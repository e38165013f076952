"""For every test and notebook alike: the sample, no progress bars, UTF-8, one thread a worker."""

import os

collect_ignore = ["notebooks/page.py"]  # settings that only Jupyter can read

os.environ["TQDM_DISABLE"] = "1"
os.environ["PYTHONUTF8"] = "1"  # what a test starts prints UTF-8, on Windows too
for name in ("MEDIMG_DATASET", "MEDIMG_DATA"):
    os.environ.pop(name, None)
# Workers share the cores: two workers with two threads each take longer than with one each.
# Set before torch is imported; the notebooks' kernels inherit it.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")

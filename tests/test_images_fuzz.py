"""A short run of the fuzzer; `python tests/fuzz_images.py 20000` is the long one."""

import numpy as np
from fuzz_images import case, fuzz, seeds

from medimg.images import read_image


def test_damaged_files_give_an_image_or_our_error():
    counts, failures = fuzz(400)
    assert not failures
    assert counts["image"] + counts["refused"] == 400
    assert counts["image"] > 20
    assert counts["refused"] > 20


def test_seeds_are_forty_files_and_whole(tmp_path):
    files = seeds(tmp_path)
    assert len(files) == 40
    refused = 0
    for data in files:
        (tmp_path / "file").write_bytes(data)
        try:
            assert np.isfinite(read_image(tmp_path / "file")).all()
        except Exception:
            refused += 1
    assert refused == 1  # the structured report


def test_cases_are_repeatable(tmp_path):
    files = seeds(tmp_path)
    assert case(files, 0, 7) == case(files, 0, 7)

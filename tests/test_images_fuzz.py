"""A short run of the fuzzer; `python tests/fuzz_images.py 20000` is the long one."""

import numpy as np
import pytest
from fuzz_images import case, fuzz, report
from fuzz_seeds import seeds

from medimg.images import ImageReadError, read_image

REFUSED = (
    "DICOM report", "DICOM DICOMDIR", "DICOM deflated", "DICOM 12 bits", "DICOM palette segmented",
    "DICOM float", "DICOM double", "DICOM deflated frame", "PNG RGB 16", "PNG grey+alpha 16",
    "TIFF float", "WEBP", "JPEG2000",
)  # fmt: skip


def test_damaged_files_give_an_image_or_our_error():
    found = fuzz(640)
    assert not found.failures
    assert found.total("image") + found.total("refused") == 640
    assert found.total("image") > 60
    assert found.total("refused") > 60
    assert len({kind for kind, _ in found.counts}) == 63
    assert "640 mutations of 63 files" in report(found)


def test_seeds_are_whole_files_of_every_kind(tmp_path):
    files = seeds(tmp_path)
    assert len({kind for kind, _ in files}) == len(files) == 63
    for kind, data in files:
        (tmp_path / "file").write_bytes(data)
        if kind in REFUSED:  # whole, and not read
            with pytest.raises(ImageReadError):
                read_image(tmp_path / "file")
        else:
            assert np.isfinite(read_image(tmp_path / "file")).all()


def test_cases_are_repeatable(tmp_path):
    files = seeds(tmp_path)
    assert case(files, 0, 7) == case(files, 0, 7)

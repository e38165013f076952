"""The sample as committed: whole, split by patient, and the same film in each of its files."""

from pathlib import Path

import numpy as np
import pytest

from medimg import datasets, images
from medimg.storage import sha256

DATA = Path(__file__).parents[1] / "data"


def test_every_file_has_the_sum_that_the_list_says():
    listed = dict(
        reversed(line.split("  ", 1))
        for line in (DATA / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    )
    files = [p for p in DATA.rglob("*") if p.is_file() and not p.name.startswith(".")]
    files = [p for p in files if "simulate" not in p.relative_to(DATA).parts]
    found = {p.relative_to(DATA).as_posix(): p for p in files if p.name != "SHA256SUMS"}
    assert set(found) == set(listed)
    assert [name for name, path in found.items() if sha256(path) != listed[name]] == []


def test_the_whole_is_at_most_75_megabytes():
    assert sum(p.stat().st_size for p in DATA.rglob("*") if p.is_file()) <= 75e6


@pytest.mark.parametrize("name", ["sample", "sample_ct", "sample_mr"])
def test_each_set_is_split_by_patient_and_has_a_mask_for_each_lesion(name):
    studies = datasets.load(name)
    healthy = datasets.class_names(studies)[0]
    assert len(studies) == 100
    assert set(studies["split"]) == {"train", "val", "test"}
    assert studies.groupby("patient_id")["split"].nunique().max() == 1
    assert ((studies["mask_path"] != "") == (studies["label"] != healthy)).all()
    lesions = datasets.decode_masks(studies, size=96).any(axis=(1, 2))
    assert (lesions == (studies["label"] != healthy)).all()


def test_the_picture_shows_what_the_dicom_file_shows():
    for study in datasets.load("sample").itertuples():
        if study.burned_in:
            continue
        film, picture = images.read_image(study.dicom_path), images.read_image(study.path)
        assert film.shape == picture.shape, study.image_id
        assert np.abs(film - picture).max() <= 1.01 / 255, study.image_id


def test_every_dicom_file_says_that_it_is_simulated():
    for path in (DATA / "dicom").rglob("*.dcm"):
        assert "SIMULATED" in str(images.read_header(path)).upper(), path.name


def test_only_sequences_that_may_be_empty_are():
    """Of type 2 in PS3.3; an optional sequence is left out or has an item (dciodvfy asks so)."""
    empty = set()
    for path in DATA.rglob("*.dcm"):
        for item in images.read_header(path).iterall():
            if item.VR == "SQ" and not item.value:
                empty.add(item.keyword)
    assert empty <= {"AcquisitionContextSequence", "ViewModifierCodeSequence"}

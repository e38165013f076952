"""Fundus photographs: the plan, what a grade shows, and what no grade may show."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from simulate import retina
from simulate.errors import SimulationError
from simulate.fundus import CAMERAS, View, photograph


@pytest.fixture(scope="module")
def table():
    return retina.plan(90, seed=2026)


def take(grade, *, seed=0, **changes):
    given = {"eye": "right", "camera": "A", "view": View(), "pigment": 0.4, "drusen": False}
    return photograph(grade, **given | changes, rng=np.random.default_rng(seed))


def test_both_eyes_of_each_person_in_one_split_and_grades_one_step_apart(table):
    people = table.groupby("patient_id")
    assert len(table) == 180
    assert (people["eye"].agg(set) == {"left", "right"}).all()
    assert len(table[["patient_id", "split"]].drop_duplicates()) == 90
    assert (people["label"].agg(np.ptp) <= 1).all()
    assert table.groupby("split")["label"].nunique().tolist() == [5, 5, 5]


@pytest.mark.parametrize("column", ["camera", "quality", "drusen"])
def test_technique_and_age_are_dealt_without_regard_to_the_grade(column):
    many = retina.plan(4000, seed=1)
    shares = pd.crosstab(many[column], many["label"] >= 2, normalize="columns")
    assert (shares[True] - shares[False]).abs().max() < 0.04


@pytest.mark.parametrize("camera", sorted(CAMERAS))
@pytest.mark.parametrize("grade", range(5))
def test_a_photograph_is_colour_in_a_black_frame_and_its_lesions_grow_with_the_grade(grade, camera):
    image, lesions = take(grade, camera=camera)
    assert image.shape == (*CAMERAS[camera].shape, 3)
    assert lesions.shape == CAMERAS[camera].shape
    assert image.min() >= 0
    assert image.max() <= 1
    assert image[0, 0].max() < 1e-6
    assert lesions.any() == (grade > 0)
    red, green, blue = image[lesions.shape[0] // 2, lesions.shape[1] // 2]
    assert red > green > blue


def test_more_lesions_in_severe_than_in_mild_disease():
    area = {
        grade: np.mean([take(grade, seed=s)[1].mean() for s in range(3)]) for grade in (1, 2, 3)
    }
    assert area[1] < area[2] < area[3]


def test_a_left_eye_is_a_right_eye_in_the_mirror():
    # Noise and the circle are the camera's, so compare a blurred middle of the green channel.
    one, other = (take(2, eye=eye)[0][40:-40, 40:-40, 1] for eye in ("right", "left"))
    assert np.corrcoef(one.ravel(), other[:, ::-1].ravel())[0, 1] > 0.97
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.7


def test_haze_and_blur_take_contrast_away():
    sharp, hazy = (
        take(3, view=view)[0][60:-60, 60:-60, 1].std() for view in (View(), View(4, 0.6))
    )
    assert hazy < 0.5 * sharp


@pytest.mark.parametrize(
    "wrong", [{"grade": 5}, {"grade": -1}, {"eye": "third"}, {"camera": "C"}], ids=str
)
def test_what_does_not_exist_is_refused(wrong):
    given = {"grade": 1, **wrong}
    with pytest.raises(SimulationError, match=r"expected a grade of 0 to 4"):
        take(given.pop("grade"), **given)


def test_the_written_set_is_as_planned_and_the_same_every_time(tmp_path):
    first, again = (retina.make_sample(tmp_path / name, patients=5) for name in ("a", "b"))
    pd.testing.assert_frame_equal(first, again)
    for row in first.to_dict("records"):
        files = [(tmp_path / name / "retina" / row["path"]) for name in ("a", "b")]
        assert files[0].read_bytes() == files[1].read_bytes()
        with Image.open(files[0]) as picture:
            assert picture.mode == "RGB"
            assert (picture.height, picture.width) == CAMERAS[row["camera"]].shape
        assert (row["mask_path"] != "") == (row["label"] > 0)


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"seed": -1}])
def test_impossible_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(SimulationError):
        retina.make_sample(tmp_path, **wrong)

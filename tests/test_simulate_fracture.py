"""Bone radiographs: the plan, what a break does to a shadow, and the written files."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from simulate import fracture
from simulate.bones import Break, Grid, Part, cast_shadow, chords, follow
from simulate.errors import SimulationError

# A tube of cortex 4 mm thick, 20 mm wide, along z from -40 to 40.
TUBE = Part("tube", [(-40, 0, 0, 10, 10), (40, 0, 0, 10, 10)], cortex=4.0, inside=(0, 0), rough=0)


def grid(turn=0.0):
    return Grid(
        np.arange(-30, 30, 0.5, dtype=np.float32), np.arange(-15, 15, 0.5, dtype=np.float32), turn
    )


@pytest.fixture(scope="module")
def table():
    return fracture.plan(112, seed=2026)


@pytest.mark.parametrize("turn", [0, 30, 90])
def test_the_shadow_of_a_tube_is_that_of_geometry(turn):
    view = grid(turn)
    row = cast_shadow([TUBE], [], view).hard[60]
    wanted = 2 * (np.sqrt(np.clip(100 - view.u**2, 0, None))
                  - np.sqrt(np.clip(36 - view.u**2, 0, None)))  # fmt: skip
    smooth = np.min([np.abs(np.abs(view.u) - edge) for edge in (6, 10)], axis=0) > 0.8
    np.testing.assert_allclose(row[smooth], wanted[smooth], atol=0.5)


def test_soft_tissue_is_an_ellipse_from_each_side():
    part = Part("flesh", [(-40, 0, 0, 12, 5), (40, 0, 0, 12, 5)])
    front, side = (chords(part, grid(turn))[60] for turn in (0, 90))
    assert front.max() == pytest.approx(10, abs=0.1)
    assert side.max() == pytest.approx(24, abs=0.3)
    assert (front > 0).sum() > (side > 0).sum()


def test_a_hairline_takes_bone_away_and_hides_in_the_view_along_its_slope():
    cut = Break("tube", 0.0, slope=(0.0, 1.5), gap=1.0, rough=0.0)
    along, across = (
        cast_shadow([TUBE], [], grid(turn)).hard - cast_shadow([TUBE], [cut], grid(turn)).hard
        for turn in (90, 0)
    )
    assert along.sum() == pytest.approx(across.sum(), rel=0.05)  # the same bone is missing
    assert along.max() > 2 * across.max()  # a line in one view, a haze in the other


def test_a_break_that_reaches_half_way_leaves_the_other_half():
    cut = Break("tube", 0.0, gap=1.5, rough=0.0, reach=0.4, side=0.0)
    lost = cast_shadow([TUBE], [], grid()).hard - cast_shadow([TUBE], [cut], grid()).hard
    left, right = lost[:, :25].sum(), lost[:, 35:].sum()
    assert left > 5 * max(right, 0.1)


def test_a_displaced_piece_steps_aside_in_one_view_only():
    cut = Break("tube", 0.0, gap=0.4, rough=0.0, shift=(4.0, 0.0, 0.0))
    front, side = (cast_shadow([TUBE], [cut], grid(turn)).hard for turn in (0, 90))

    def middle(shadow, row):
        return (shadow[row] * grid().u).sum() / shadow[row].sum()

    assert middle(front, 110) - middle(front, 10) == pytest.approx(4, abs=0.3)
    assert middle(side, 110) - middle(side, 10) == pytest.approx(0, abs=0.3)


def test_what_hangs_on_the_far_piece_goes_with_it():
    cut = Break("tube", -20.0, shift=(5.0, -2.0, 0.0), tilt=(0.0, 0.0))
    hand, other = follow([Part("hand", TUBE.outline), TUBE], cut, ("hand",))
    assert hand.outline[0][1:3] == (5.0, -2.0)
    assert other is TUBE


def test_the_band_lies_at_the_break():
    band = cast_shadow([TUBE], [Break("tube", 10.0, rough=0.0)], grid()).band
    rows = np.flatnonzero(band.sum(axis=1) > 1)
    heights = grid().z[rows]
    assert (heights.min(), heights.max()) == pytest.approx((7, 13), abs=1)


def test_each_patient_is_in_one_split_with_one_label(table):
    people, studies = table.groupby("patient_id"), table.groupby("study_id")
    assert people[["split", "label", "body_part"]].nunique().eq(1).all(axis=None)
    assert studies["view"].agg(["nunique", "size"]).isin([2, 3]).all(axis=None)
    assert len(people) == 112
    assert set(people["study_id"].nunique()) == {1, 2}
    assert table.groupby("split")["label"].nunique().tolist() == [2, 2, 2]


def test_what_shall_tell_the_label_does_and_the_rest_does_not():
    many = fracture.plan(4000, seed=1).drop_duplicates("study_id")
    broken = many["label"].eq("fracture")
    for column in ("cast", "metal", "oblique"):
        assert many.loc[broken, column].mean() - many.loc[~broken, column].mean() > 0.08
    for column in ("side", "sex", "scanner"):
        shares = pd.crosstab(many[column], broken, normalize="columns")
        assert (shares[True] - shares[False]).abs().max() < 0.04
    assert abs(many.loc[broken, "age"].mean() - many.loc[~broken, "age"].mean()) < 3


def test_the_written_set_is_as_planned_and_the_same_every_time(tmp_path):
    first, again = (fracture.make_sample(tmp_path / n, patients=4, seed=5) for n in ("a", "b"))
    pd.testing.assert_frame_equal(first, again)
    assert len(first) >= 8
    for row in first.to_dict("records"):
        broken = row["label"] == "fracture"
        for column in ("path", "mask_path")[: 1 + broken]:
            files = [tmp_path / name / "fracture" / row[column] for name in ("a", "b")]
            assert files[0].read_bytes() == files[1].read_bytes()
            with Image.open(files[0]) as picture:
                assert (picture.mode, picture.size) == ("L", fracture.SHAPE[::-1])
        assert (row["mask_path"] != "") == broken == (row["visible"] in ("yes", "no"))
        if broken:
            with Image.open(tmp_path / "a/fracture" / row["mask_path"]) as mask:
                assert 20 < (np.asarray(mask) > 0).sum() < 0.1 * 448 * 448


@pytest.mark.parametrize("wrong", [{"patients": 1}, {"seed": -1}])
def test_impossible_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(SimulationError):
        fracture.make_sample(tmp_path, **wrong)

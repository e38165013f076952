"""Films of COVID-19, pneumonia and neither: the plan, the ground glass, and the written files."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from simulate import covid
from simulate.body import make_body
from simulate.disease import GROUND_GLASS, Disease, LungSpace, lesion
from simulate.errors import SimulationError
from simulate.even import Even
from simulate.settings import settings
from test_simulate_body import phantom


@pytest.fixture(scope="module")
def body():
    return make_body(phantom(), plane_mm=12.0, pixel_mm=6.0)


@pytest.fixture(scope="module")
def table():
    return covid.plan(22, seed=2026)


def test_each_patient_is_in_one_split_one_hospital_and_has_one_label(table):
    people = table.groupby("patient_id")
    assert len(people) == 22 * 9
    assert people[["split", "hospital", "label"]].nunique().eq(1).all(axis=None)
    assert set(people.size()) == {1, 2}
    assert (table["split"].eq("test") == table["hospital"].eq("west")).all()


@pytest.mark.parametrize("column", ["hospital", "view", "sex", "age_band", "visit"])
def test_nothing_but_the_disease_goes_with_the_label(table, column):
    counts = pd.crosstab(table["label"], table[column])
    assert (counts.max() - counts.min()).max() <= 5


def test_the_labels_are_other_people_filmed_alike(table):
    columns = ["age", "sex", "visit", "view", "distractor", "split"]
    for _, site in table.groupby("hospital"):
        given = [site.loc[site["label"] == label, columns].value_counts() for label in covid.LABELS]
        assert given[0].to_dict() == given[1].to_dict() == given[2].to_dict()
    rows = table.assign(given=[settings(row, draws=[Even(*each) for each in row["draws"]])
                               for row in table.to_dict("records")])  # fmt: skip
    hearts = rows["given"].map(lambda each: each["build"].heart)
    assert hearts.groupby(rows["patient_id"]).first().nunique() == 22 * 9
    tones = rows["given"].map(lambda each: each["exposure"].tone)
    assert tones.groupby(tones).size().eq(3).all()
    assert tones.groupby(rows["label"]).nunique().eq(81).all()


def test_bodies_are_spread_alike_over_the_labels(table):
    given = [settings(row, draws=[Even(*each) for each in row["draws"]])["build"]
             for row in table.to_dict("records")]  # fmt: skip
    drawn = pd.DataFrame([{"heart": each.heart, "fat": each.fat, "bone": each.bone,
                           "width": each.width} for each in given])  # fmt: skip
    means = drawn.groupby(table["label"]).mean()
    assert ((means.max() - means.min()) / drawn.std()).max() < 0.15  # free draws leave about 0.3


def test_a_second_visit_shows_the_same_person_in_another_exposure(table):
    twice = table[table.duplicated("patient_id", keep=False)].groupby("patient_id")
    for _, films in list(twice)[:5]:
        one, two = (settings(row, draws=[Even(*each) for each in row["draws"]])
                    for row in films.to_dict("records"))  # fmt: skip
        assert one["build"].heart == two["build"].heart
        assert one["exposure"].black != two["exposure"].black


def test_ground_glass_lies_in_both_lungs_under_the_pleura_and_mostly_below(body):
    space = LungSpace(body)
    added = sum(
        lesion(space, Disease(GROUND_GLASS, "both lungs", 0.7, seed=seed)) for seed in range(4)
    )[space.box]
    columns = np.linspace(-1, 1, added.shape[2])
    left, right = added[..., columns < 0].sum(), added[..., columns > 0].sum()
    assert 0.3 < left / (left + right) < 0.7
    rows = np.arange(added.shape[1])[:, None]
    for weight in (1 - space.depth, rows):  # nearer to the pleura and further down than the air
        assert (added * weight).sum() / added.sum() > (space.air * weight).sum() / space.air.sum()


def test_the_written_set_is_as_planned_and_the_same_every_time(tmp_path, body):
    first, again = (covid.make_sample(tmp_path / n, patients=1, body=body) for n in ("a", "b"))
    pd.testing.assert_frame_equal(first, again)
    assert len(first) == 9
    for row in first.to_dict("records"):
        files = [(tmp_path / name / "covid" / row["path"]) for name in ("a", "b")]
        assert files[0].read_bytes() == files[1].read_bytes()
        with Image.open(files[0]) as picture:
            assert (picture.mode, picture.size) == ("L", (covid.SIDE, covid.SIDE))
        assert (row["mask_path"] != "") == (row["label"] != "normal") == (row["area"] > 0)


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"seed": -1}])
def test_impossible_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(SimulationError):
        covid.make_sample(tmp_path, **wrong)

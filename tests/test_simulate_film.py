"""Rays, lesions and films, on a small phantom with known answers."""

import numpy as np
import pytest
from simulate.body import Body, make_body
from simulate.disease import PATTERNS, PLACES, Disease, LungSpace, lesion
from simulate.errors import SimulationError
from simulate.film import DISTRACTORS, Exposure, develop, expose, frame, text, wear
from simulate.limbs import Limbs, limbs
from simulate.projection import Build, Pose, aim, integrate
from simulate.study import take
from test_simulate_body import phantom

STRAIGHT = Build(curve=1.0, wobble=0)


@pytest.fixture(scope="module")
def body():
    return make_body(phantom(), plane_mm=12.0, pixel_mm=6.0)


@pytest.fixture(scope="module")
def space(body):
    return LungSpace(body)


def block():
    """A slab of water, 200 mm deep, with a dense rod 40 mm right of and 30 mm below the middle."""
    soft = np.full((20, 40, 50), 0.02, np.float32)
    bone = np.zeros_like(soft)
    bone[10, 22:24, 28:30] = 1.0  # z from 20 to 40 mm, x from 30 to 50 mm
    lobes = np.zeros(soft.shape, np.int16)
    zero = np.zeros(3, np.float32)
    return Body(
        soft,
        bone,
        np.zeros_like(bone),
        lobes,
        soft,
        zero,
        np.zeros(4, np.float32),
        zero,
        (200, 400, 500),
    )


@pytest.fixture
def still(monkeypatch):
    """Take the random displacement out, so that geometry alone remains."""
    from simulate import projection

    monkeypatch.setattr(projection, "_bend", lambda body, build, at: np.zeros(at.shape))


def test_the_central_ray_crosses_the_whole_depth(still):
    rays = aim(block(), STRAIGHT, Pose(field=(10, 10)), (3, 5))
    path = integrate(block().soft, rays, (200, 400, 500))
    assert path[1, 2] == pytest.approx(0.02 * 200, rel=1e-5)
    assert path.shape == (3, 5)


def test_an_oblique_ray_is_longer_by_its_slope(still):
    rays = aim(block(), STRAIGHT, Pose(distance=1000, field=(1, 601)), (1, 601))
    assert rays.oblique[0, 0] == pytest.approx(np.sqrt(1 + 0.3**2), rel=1e-6)


@pytest.mark.parametrize(("view", "toward"), [("PA", 5), ("AP", -5)])
def test_magnification_is_distance_over_distance_to_the_plane(still, view, toward):
    pose = Pose(view=view, distance=1000, field=(300, 400))
    path = integrate(block().bone, aim(block(), STRAIGHT, pose, (300, 400)), (200, 400, 500))
    rows, columns = np.nonzero(path > 0.5 * path.max())
    # The plane's middle is 5 mm in front of the stack's; the stack ends 60 mm from the detector.
    magnify = 1000 / (1000 - 100 - 60 + toward)
    assert columns.mean() + 0.5 - 200 == pytest.approx(40 * magnify, abs=0.6)
    assert rows.mean() + 0.5 - 150 == pytest.approx(30 * magnify, abs=0.6)


def test_nothing_is_mirrored_and_a_shift_moves_down_and_right(still):
    pose = Pose(distance=1e6, field=(300, 400), shift=(25, 10))
    path = integrate(block().bone, aim(block(), STRAIGHT, pose, (300, 400)), (200, 400, 500))
    rows, columns = np.nonzero(path > 0.5 * path.max())
    assert columns.mean() + 0.5 - 200 == pytest.approx(50, abs=0.6)
    assert rows.mean() + 0.5 - 150 == pytest.approx(55, abs=0.6)


@pytest.mark.parametrize(
    ("pose", "shape", "message"),
    [
        (Pose(), (-5, 10), "positive size"),
        (Pose(field=(0, 10)), (5, 10), "positive size"),
        (Pose(view="LL"), (5, 10), "neither 'PA' nor 'AP'"),
    ],
)
def test_impossible_films_are_refused(pose, shape, message):
    with pytest.raises(SimulationError, match=message):
        aim(block(), Build(), pose, shape)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("place", PLACES)
def test_a_lesion_fills_air_of_the_lungs_only(body, space, pattern, place):
    added = lesion(space, Disease(pattern, "right lower", 0.8, place, 3))
    assert added.shape == body.lobes.shape
    assert (added[body.lobes == 0] == 0).all()
    assert added.max() > 0
    assert (added + body.lung_mu <= 1.1 * body.soft.max()).all()


def test_a_lobar_lesion_stops_at_the_fissure(body, space):
    added = lesion(space, Disease("lobar", "right upper", 0.5, seed=1))
    assert set(np.unique(body.lobes[added > 0])) == {12}


def test_severity_adds_and_a_seed_repeats(space):
    def mass(severity, seed=4):
        return lesion(space, Disease("lobar", "left lower", severity, seed=seed)).sum()

    assert mass(0.1) < mass(0.5) < mass(0.9)
    assert mass(0.5) == mass(0.5)
    assert mass(0.5) != mass(0.5, seed=5)


@pytest.mark.parametrize(
    "disease",
    [
        Disease("abscess", "left upper", 0.5),
        Disease("lobar", "left middle", 0.5),
        Disease("lobar", "left upper", 1.5),
        Disease("lobar", "left upper", 0.5, "elsewhere"),
    ],
)
def test_a_disease_that_does_not_exist_is_refused(space, disease):
    with pytest.raises(SimulationError, match=r"expected|patterns are"):
        lesion(space, disease)


def test_exposure_follows_beer_and_lambert_without_scatter():
    path = np.full((40, 60), 2.0, np.float32)
    signal = expose(path, Exposure(scatter=0, blur=0, photons=1e9))
    assert np.median(signal) == pytest.approx(2.0, abs=1e-3)
    veiled = expose(path, Exposure(scatter=1.0, blur=0, photons=1e9))
    assert np.median(veiled) == pytest.approx(2.0 - np.log(2), abs=1e-3)


def test_quantum_noise_falls_with_the_root_of_the_dose():
    path = np.ones((80, 100), np.float32)
    few, many = (expose(path, Exposure(scatter=0, blur=0, photons=p)).std() for p in (1e3, 1e5))
    assert few / many == pytest.approx(10, rel=0.05)


def test_development_meets_its_three_anchors(rng):
    log_signal = rng.uniform(1, 4, (120, 90)).astype(np.float32)
    exposure = Exposure(sharpen=0, equalise=0, black=0.1, middle=0.6, white=0.9)
    low, half, high = np.quantile(develop(log_signal, exposure), (0.005, 0.5, 0.985))
    assert (low, half, high) == (
        pytest.approx(0.1, abs=0.01), pytest.approx(0.6, abs=0.01), pytest.approx(0.9, abs=0.01),
    )  # fmt: skip


def test_shutters_are_black_and_the_marker_white():
    film = np.full((100, 80), 0.5, np.float32)
    framed = frame(film, Exposure(collimation=(0.1, 0.05, 0.2, 0), marker_at=(0.3, 0.5)))
    assert (framed[:10] == 0).all()
    assert (framed[95:] == 0).all()
    assert (framed[:, :16] == 0).all()
    assert framed[12, 79] == 0.5
    assert framed[30:40, 40:50].max() == pytest.approx(0.97)


@pytest.mark.parametrize("distractor", DISTRACTORS)
def test_distractors_add_attenuation_or_nothing(distractor):
    worn = wear((90, 70), Exposure(distractor=distractor, seed=2), 4.0)
    assert worn.shape == (90, 70)
    assert (worn >= 0).all()
    assert (worn.max() > 0) == (distractor != "none")


def test_text_is_a_mask_of_letters():
    words = text("AP 12", 14)
    assert words.max() == 1
    assert 0.05 < (words > 0.5).mean() < 0.6


def test_an_arm_is_a_cylinder_of_water(body):
    path = limbs(body, STRAIGHT, Pose(), (100, 90), Limbs((90.0, 90.0), 40.0))
    assert path[:, :20].max() > 0.0185 * 80
    none = limbs(body, STRAIGHT, Pose(), (100, 90), Limbs())
    assert (none == 0).all()
    assert limbs(body, STRAIGHT, Pose(), (100, 90), Limbs(chin=30))[0].max() > 0


def test_a_healthy_film_has_no_mask_and_an_ill_one_differs_inside_the_lungs(body, space):
    pose = Pose(field=(420.0, 360.0))
    common = {"build": STRAIGHT, "pose": pose, "exposure": Exposure(), "shape": (84, 72)}
    healthy = take(body, space, **common)
    ill = take(body, space, **common, disease=Disease("lobar", "left lower", 0.9, seed=1))
    assert not healthy.mask.any()
    assert ill.mask.any()
    assert (ill.mask & ill.lungs).sum() > 0.9 * ill.mask.sum()
    assert healthy.image.dtype == np.float32
    assert ill.pixel == 5.0
    assert "lesion=" in repr(ill)

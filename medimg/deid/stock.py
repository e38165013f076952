"""Take stock of one input file: whose it is, what it is called from now on, what it gives away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

from medimg.deid import dicomfile
from medimg.deid.inventory import Inventory
from medimg.deid.journal import Journal
from medimg.storage import sha256


@dataclass
class InputFile:
    """One input file: its number in the report, and who it belongs to."""

    number: int
    path: Path
    relative: str
    key: str = ""
    identity: str = ""
    refused: str = ""
    output: str = ""


def _identity(dataset: Dataset) -> str:
    """Return what makes two files one patient's: the ID, else name and birth date, else study."""
    patient_id = str(dataset.get("PatientID", "") or "").strip().casefold()
    if patient_id:
        return f"id\0{patient_id}"
    name = str(dataset.get("PatientName", "") or "").strip().casefold()
    if name:
        return f"name\0{name}\0{dataset.get('PatientBirthDate', '')}"
    return f"study\0{dataset.get('StudyInstanceUID', '') or dataset.get('SOPInstanceUID', '')}"


def take_stock(file: InputFile, journal: Journal, inventory: Inventory) -> None:
    """Give a file its names and add its identifiers; refuse it when it cannot be read."""
    try:
        file.key = journal.file_key(file.relative, sha256(file.path))
        dataset = dicomfile.read(file.path, large=False)
        file.identity = _identity(dataset)
        inventory.add(dataset, days=journal.key.days(file.identity))
    except dicomfile.RefusedError as refusal:
        file.refused = str(refusal)
    except Exception as error:  # one bad file never stops a run; its message may quote a value
        file.refused = f"cannot be read ({type(error).__name__})"
    else:
        name = journal.key.letters("name", file.key, 16)
        file.output = f"{journal.key.patient(file.identity)}/{name}.dcm"

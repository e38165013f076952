import tempfile
from pathlib import Path

import numpy as np
import pydicom

from medimg import datasets
from medimg.metrics import Predictions

FOLDER = Path(tempfile.mkdtemp())
SAMPLE = datasets.load("sample")
PLAIN = SAMPLE[(SAMPLE["syntax"] == "explicit") & ~SAMPLE["burned_in"]]
HEADERS = [pydicom.dcmread(path, stop_before_pixels=True) for path in PLAIN["dicom_path"]]
LONG = [min(map(len, str(header.PatientName).split("^"))) > 3 for header in HEADERS].index(True)
FILM, HEADER = PLAIN.iloc[LONG], HEADERS[LONG]
NAME, RECORD = str(HEADER.PatientName), str(HEADER.PatientID)


def sent(file, *, comment="", pixels=False):
    dicom = pydicom.dcmread(FILM["dicom_path"])
    for element in list(dicom.iterall()):
        words = [*NAME.lower().split("^"), RECORD.lower()]
        if any(word in str(element.value).lower() for word in words if len(word) > 3):
            element.value = ""
    dicom.ImageComments = comment
    if pixels:
        dicom.PixelData = bytes(len(dicom.PixelData))
    dicom.save_as(FOLDER / f"{file}.dcm")
    return FOLDER / f"{file}.dcm"


def trained_with(share):
    return [
        Predictions(list("abcd"), [0, 1, 0, 1], [k, 0.2, min(share, 0.9), 0.4]) for k in (0.5, 0.9)
    ]


def gap(y_true, y_called, group):
    shares = []
    for g in (0, 1):
        ill = (y_true == 1) & (group == g)
        shares.append(np.sum(y_called[ill]) / np.sum(ill))
    return shares[1] - shares[0]


def swapped(y_true, y_called, group):
    return -gap(y_true, y_called, group)


def accuracy_gap(y_true, y_called, group):
    right = y_true == y_called
    return right[group == 1].mean() - right[group == 0].mean()


def ppv_gap(y_true, y_called, group):
    return (
        y_true[(y_called == 1) & (group == 1)].mean()
        - y_true[(y_called == 1) & (group == 0)].mean()
    )


def over_everyone(y_true, y_called, group):
    found = y_true * y_called
    return found[group == 1].mean() - found[group == 0].mean()


EXAMPLES = {
    "06-leak": {
        "context": {"patient": NAME, "record": RECORD, "original": FILM["dicom_path"]},
        "right": [sent("clean"), str(sent("short", comment="moved"))],
        "wrong": [
            (FILM["dicom_path"], "record number"),
            (sent("number", comment=f"see {RECORD.lower()}"), "record number"),
            (sent("small", comment=NAME.split("^")[0].lower()), "small and capital letters"),
            (sent("given", comment=NAME.split("^")[1]), "given name"),
            (sent("pixels", pixels=True), "pixels are not those"),
            (FOLDER / "nowhere.dcm", "cannot be read"),
            (7, "the path of your file"),
        ],
    },
    "06-gap": {
        "context": {},
        "right": [gap],
        "wrong": [
            (swapped, "wrong sign"),
            (accuracy_gap, "gap in accuracy"),
            (ppv_gap, "gap in PPV"),
            (over_everyone, "Divide by the number with the disease"),
            (0.25, "the function itself"),
        ],
    },
    "06-quarter": {
        "context": {"trained": {"nobody": trained_with(0)}, "trained_with": trained_with},
        "right": [trained_with(0.25), tuple(trained_with(0.25))],
        "wrong": [
            (trained_with(0), "one of the recipes"),
            (trained_with(25), "between 0 and 1"),
            (trained_with(0.3), "not the scores"),
            (trained_with(0.25)[0], "two predictions"),
        ],
    },
    "06-recruit": {
        "context": {},
        "right": [3825, 3825.0, 3813, 3837],
        "wrong": [
            (306, "how many patients in total"),
            (24.5, "multiplied by the prevalence"),
            (2738, "for a sensitivity of 0.90"),
            (333, "share without the disease"),
            ("3825", "without quotes"),
        ],
    },
}

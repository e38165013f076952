"""Compare read_image with pydicom's LUT functions and DCMTK's dcmj2pnm on folders of DICOM files.

    python benchmarks/dicom_corpus.py FOLDER [FOLDER ...]

The test files that pydicom ships are always added. Each file is right (every frame looked at is
within one grey level of 255 of every reference that can read it), refused (with our error; the
table at the end shows it), wrong, or a foreign exception. dcmj2pnm is left out where it is missing.

Where the references differ from each other, the standard decides, and `KNOWN` says how.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array

from medimg.images import ImageReadError, read_image, read_values

LUMINANCE = np.array([0.299, 0.587, 0.114])
COLOURS = ("RGB", "YBR", "PALETTE")
# Files in which one reference differs from us and from the other, or from the standard.
KNOWN = dict.fromkeys(
    ("rtdose_expb.dcm", "rtdose_expb_1frame.dcm"),
    "dcmj2pnm swaps 16-bit words, not the 32-bit pixels; the same as rtdose.dcm",
)
# Files that no reference reads, and the same picture in a form that one does read.
TWINS = {
    "liver_rle.dcm": "liver.dcm",
    "liver_nonbyte_aligned_rle.dcm": "liver_nonbyte_aligned.dcm",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "emri_small_jpeg_2k_lossless.dcm",
}


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    shipped = Path(pydicom.__file__).parent / "data" / "test_files"
    files = [
        path for folder in [*sys.argv[1:], shipped] for path in sorted(Path(folder).rglob("*"))
    ]
    rows = [judge(path) for path in files if path.is_file() and is_dicom(path)]
    for name, verdict, against_pydicom, against_dcmtk, note in rows:
        print(f"{name:48.48} {verdict:8} {against_pydicom:>8} {against_dcmtk:>8}  {note}")
    counts = Counter(row[1] for row in rows)
    agreed = [sum(is_close(row[column]) for row in rows) for column in (2, 3)]
    print(
        f"\n{len(rows)} files: "
        + ", ".join(f"{counts[key]} {key}" for key in ("right", "refused", "wrong", "foreign"))
    )
    print(f"within one grey level of pydicom: {agreed[0]}, of dcmj2pnm: {agreed[1]}")
    sys.exit(bool(counts["wrong"] or counts["foreign"]))


def is_dicom(path: Path) -> bool:
    return path.suffix in (".dcm", "") or path.read_bytes()[128:132] == b"DICM"


def is_close(difference: str) -> bool:
    return difference not in ("-", "fails") and float(difference) <= 1


def judge(path: Path) -> tuple[str, str, str, str, str]:
    """Return the file's name, the verdict, the largest difference to each reference, a note."""
    try:
        ours = read_image(path) * 255
        padding = np.isnan(read_values(path))
    except ImageReadError as error:
        return path.name, "refused", "-", "-", str(error).removeprefix(f"{path}: ")
    except BaseException as error:
        return path.name, "foreign", "-", "-", repr(error)
    dataset = pydicom.dcmread(path, force=True)
    differences = []
    for reference in (by_pydicom, by_dcmtk):
        try:
            theirs = reference(path, dataset, padding)
            gap = np.abs(theirs - ours)[~padding]
            differences.append(f"{gap.max():.2f}")
        except NotImplementedError:
            differences.append("-")
        except Exception:
            differences.append("fails")
    note = KNOWN.get(path.name, "")
    if path.name in TWINS:
        same = np.array_equal(ours, read_image(path.with_name(TWINS[path.name])) * 255)
        verdict = "right" if same else "wrong"
        return path.name, verdict, *differences, f"compared with {TWINS[path.name]}"
    compared = [difference for difference in differences if difference not in ("-", "fails")]
    if compared and not all(map(is_close, compared)) and not note:
        return path.name, "wrong", *differences, note
    return path.name, "right", *differences, note or ("" if compared else "no reference reads it")


def scale(dataset: pydicom.Dataset, values: np.ndarray, padding: np.ndarray) -> tuple[float, float]:
    """Return the values shown black and white where the file has no window of its own."""
    counted = values[~padding & np.isfinite(values)]
    edges = (1, 99) if dataset.get("Modality") == "MR" else (0, 100)
    low, high = np.percentile(counted, edges)
    return float(low), float(high)


def by_pydicom(path: Path, dataset: pydicom.Dataset, padding: np.ndarray) -> np.ndarray:
    """Return the picture, 0 to 255, that pydicom's own functions make of the first frame."""
    photometric = dataset.get("PhotometricInterpretation", "MONOCHROME2")
    pixels = pixel_array(dataset, index=0)
    if photometric.startswith(COLOURS):
        if photometric.startswith("PALETTE"):
            pixels = apply_color_lut(pixels, dataset)[..., :3]
            top = 255 if pixels.max() <= 255 else 65535
        else:
            top = 2**dataset.BitsStored - 1
        return pixels @ LUMINANCE / top * 255
    holder = frame_groups(dataset)
    values = apply_modality_lut(pixels, holder).astype(float)
    shown = apply_voi_lut(
        values.astype(pixels.dtype) if "VOILUTSequence" in holder else values, holder
    ).astype(float)
    if "VOILUTSequence" in holder:
        low, high = 0.0, 2.0 ** holder.VOILUTSequence[0].LUTDescriptor[2] - 1
    elif "WindowWidth" in holder:
        low, high = output_range(holder)
    else:
        low, high = scale(dataset, values, padding)
    picture = np.clip((shown - low) / (high - low), 0, 1)
    return (1 - picture if photometric == "MONOCHROME1" else picture) * 255


def frame_groups(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """Return a copy of the header with the first frame's functional groups at the top level."""
    flat = pydicom.Dataset()
    flat.update({element.tag: element for element in dataset if element.tag.group != 0x7FE0})
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for element in dataset[name][0] if dataset.get(name) else ():
            if element.keyword in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                flat.update(element.value[0])
    return flat


def output_range(holder: pydicom.Dataset) -> tuple[float, float]:
    """Return what apply_voi_lut maps black and white to."""
    bits = holder.get("BitsStored", 8)
    low, high = (
        (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if holder.get("PixelRepresentation")
        else (0, 2**bits - 1)
    )
    if "ModalityLUTSequence" in holder:
        return 0, 2.0 ** holder.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    slope, offset = holder.get("RescaleSlope", 1), holder.get("RescaleIntercept", 0)
    return low * slope + offset, high * slope + offset


def by_dcmtk(path: Path, dataset: pydicom.Dataset, padding: np.ndarray) -> np.ndarray:
    """Return the picture that dcmj2pnm makes of the first frame."""
    if shutil.which("dcmj2pnm") is None:
        raise NotImplementedError
    holder = frame_groups(dataset)
    options = ["-W"]
    if dataset.get("PhotometricInterpretation", "MONOCHROME2").startswith("MONO"):
        if "VOILUTSequence" in holder:
            options = ["+Wl", "1"]
        elif "WindowWidth" in dataset:
            options = ["+Wi", "1"]
        else:
            values = read_values(path) / float(dataset.get("DoseGridScaling", 1))
            low, high = scale(dataset, values, padding)
            options = ["+Ww", str((low + high + 1) / 2), str(high - low + 1)]
            if "WindowWidth" in holder:
                first = [
                    value[0] if isinstance(value, pydicom.multival.MultiValue) else value
                    for value in (holder.WindowCenter, holder.WindowWidth)
                ]
                options = ["+Ww", *map(str, first)]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.pnm"
        if path_syntax(dataset) in pydicom.uid.JPEGLSTransferSyntaxes:
            path, packed = Path(folder) / "plain.dcm", path
            run("dcmdjpls", packed, path)
        if options == ["-W"]:
            run("dcmj2pnm", "+op", path, target)
            return np.asarray(Image.open(target)) @ LUMINANCE
        run("dcmj2pnm", "-O", *options, "+opw", path, target)
        words = target.read_text(encoding="utf-8").split()
    columns, rows, top = (int(word) for word in words[1:4])
    return np.array(words[4:], float).reshape(rows, columns) / top * 255


def path_syntax(dataset: pydicom.Dataset) -> str:
    return str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", ""))


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=60)


if __name__ == "__main__":
    main()

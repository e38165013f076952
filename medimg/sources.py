"""Public data: fetched from where its publisher keeps it, with its licence and whom to cite.

What is known of each set, and how its archive becomes a table, stands in ``sources.toml``. A
download is resumed when it broke off, checked against a sum, and there whole or not at all; so is
the folder that is made of it.
"""

from __future__ import annotations

import fnmatch
import io
import json
import os
import shutil
import stat
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPException
from importlib import import_module, resources
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib import error, request

import numpy as np
import numpy.typing as npt
import pandas as pd
import pooch
from PIL import Image

from medimg.errors import DownloadError
from medimg.progress import tqdm
from medimg.storage import atomic_write, sha256
from medimg.tables import read_table, visible, write_table

pooch.get_logger().setLevel("WARNING")  # it advises users to write code
_MAX_BYTES = 20 << 30  # no file of the course is near this; a body without end stops here
_MAX_SECONDS = 6 * 3600.0
_MAX_MEMBERS, _MAX_MEMBER, _MAX_UNPACKED = 20_000, 1 << 28, 16 << 30  # of an archive; in bytes
_TUMOURS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
_Unpacked = tuple[pd.DataFrame, list[str]]  # the table, and what it leaves out
SETS: Final[dict[str, dict[str, Any]]] = tomllib.loads(
    resources.files("medimg").joinpath("sources.toml").read_text(encoding="utf-8")
)
"""What is known of each set, by its name; see the comment in ``sources.toml``."""
# MedMNIST numbers its classes; in BreastMNIST 0 is the disease. Names go by the file's name.
_CLASSES = {"breastmnist": ["malignant", "normal_or_benign"]} | {
    name: known["classes"] for name, known in SETS.items() if "classes" in known
}


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return where real data lie: ``root``, else ``MEDIMG_DATA``, else the user's cache folder.

    Parameters
    ----------
    root : path-like, optional
        A folder that goes before what the environment says.

    Returns
    -------
    Path
        The folder; it need not exist.
    """
    return Path(root or os.environ.get("MEDIMG_DATA") or pooch.os_cache("medimg")).expanduser()


def about(name: str) -> str:
    """Say what a set is, on which terms it may be used, and whom to cite.

    Parameters
    ----------
    name : str
        One of `SETS`.

    Returns
    -------
    str
        A few lines for people to read before the download.

    Examples
    --------
    >>> print(about("covid-hannover"))  # doctest: +ELLIPSIS
    covid-hannover: 243 chest radiographs of 71 patients ...
    Licence: CC BY 3.0. Please cite: Winther et al., ...
    Download: size not stated. Checksum: the publisher states none; the SHA-256 of ...
    Patients: known.
    """
    known = SETS[name]
    megabytes = sum(file.get("bytes", 0) for file in known["files"]) / 1e6
    kind = known["files"][0].get("hash", "").partition(":")[0].upper()
    none = "the publisher states none; the SHA-256 of what comes is kept and checked from then on"
    return f"""{name}: {known["about"]}; {known["page"]}
Licence: {known["licence"]}. Please cite: {known["citation"]}.
Download: {f"{megabytes:,.0f} MB" if megabytes else "size not stated"}. Checksum: {kind or none}.
Patients: {known["patients"]}.{" Note: " + known["note"] + "." if "note" in known else ""}"""


def fetch(name: str, root: str | os.PathLike[str], *, size: int = 224) -> Path:
    """Fetch a set and lay it out as a folder with a study table.

    Parameters
    ----------
    name : str
        One of `SETS`.
    root : path-like
        Where real data lie.
    size : {28, 64, 128, 224}
        Side of the images in pixels, for the sets of MedMNIST.

    Returns
    -------
    Path
        ``ROOT/NAME``, or ``ROOT/NAME_SIZE``, with the images, ``studies.csv`` (path, label; patient
        and split where the publisher gives them) and SOURCE.json (addresses, licence, citation, and
        what was left out). One that is there already is left as it is.

    Raises
    ------
    DownloadError
        For another size, without h5py where the set needs it, if an archive cannot be downloaded
        (see :func:`download`) or is not laid out as expected, and if the disk is full.

    References
    ----------
    See :func:`about` of each.
    """
    known, place = SETS[name], Path(root).expanduser()
    files = [file for file in known["files"] if file.get("size", size) == size]
    if not files:
        sizes = ", ".join(str(file["size"]) for file in known["files"])
        raise DownloadError(f"{name} has no images of {size} pixels; use {sizes}.")
    folder = place / (f"{name}_{size}" if "size" in files[0] else name)
    if folder.is_dir():
        return folder
    if find_spec(known.get("needs", "io")) is None:
        what = f"{name} needs a library that is not here; install {known['needs']}"
        raise DownloadError(f"{what} (`pip install {known['needs']}`) and try again.")
    paths = [download(file, place) for file in files]
    with _whole(folder, paths[0], f"the archive of {name}") as made:
        unpack = partial(_unpack_zips, known["parts"]) if "parts" in known else _unpack_npz
        table, left_out = unpack(paths, made)
        write_table(table, made / "studies.csv")
        with atomic_write(made / "SOURCE.json", "w") as note:
            json.dump({**known, "files": files, "left_out": left_out}, note, indent=2)
    return folder


def download(file: dict[str, Any], folder: str | os.PathLike[str]) -> Path:
    """Download a file unless it is there already and right.

    Bytes go to ``NAME.part``, which a later call continues where it broke off. Only a file whose
    checksum is right gets its name. Where the publisher states no checksum, the SHA-256 of what
    came first is kept in ``NAME.sha256`` and is the checksum from then on.

    Parameters
    ----------
    file : dict
        ``name``, ``url`` and, if stated, ``hash``, such as ``"md5:..."``; as in `SETS`.
    folder : path-like
        Where to keep it; made if missing.

    Returns
    -------
    Path
        The whole, verified file.

    Raises
    ------
    DownloadError
        If the server cannot be reached, breaks off or breaks the rules of HTTP (the part is kept),
        sends more than 20 GB or takes more than 6 hours, or the checksum is wrong (the part is
        deleted, for safety).
    """
    target: Path = Path(folder).expanduser() / file["name"]
    part, record = (target.with_name(f"{target.name}.{end}") for end in ("part", "sha256"))
    url, known = file["url"], file.get("hash")
    if not known and record.is_file():
        known = f"sha256:{record.read_text(encoding='utf-8').split()[0]}"
    get = partial(_download, part)
    try:
        pooch.retrieve(url, known, fname=target.name, path=target.parent, downloader=get)
        if not known:
            with atomic_write(record, "w") as note:
                note.write(f"{sha256(target)}  {target.name}\n")
    except OSError as fault:
        said = " ".join(str(fault).split())[:200] or type(fault).__name__
        here = f"{part.stat().st_size:,} bytes are kept" if part.exists() else "nothing came yet"
        again = f"({said}); {here}; run the same command again to resume it."
        raise DownloadError(f"{url}: the download broke off {again}") from fault
    except ValueError as fault:
        what = "the published file" if "hash" in file else f"what came before, see {record}"
        what = f"what came is not {what} (its checksum is not {known})"
        fix = "it was deleted for safety; try again, and if it stays so, the publisher changed it."
        raise DownloadError(f"{url}: {what}; {fix}") from fault
    return target


def _download(part: Path, url: str, output_file: str, _: Any) -> None:
    """Continue the part that an earlier run left; then pooch checks the sum and names the file."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "medimg"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        if "/releases/tags/" in url:  # GitHub tells where the file of a release lies
            with request.urlopen(url, timeout=30) as answer:
                url = json.load(answer)["assets"][0]["browser_download_url"]
        with request.urlopen(request.Request(url, headers=headers), timeout=30) as answer:
            if answer.status not in (200, 206):  # figshare says 202 when it sends nothing
                raise OSError(f"the server answered {answer.status} {answer.reason}")
            told = answer.headers.get("Content-Range", f"bytes {have}-")
            resumed = answer.status == 206 and told.startswith(f"bytes {have}-")
            _save(answer, part, have if resumed else 0)
    except error.HTTPError as refused:
        if refused.code != 416:  # 416: the part is whole already
            raise
    except (HTTPException, ValueError, LookupError, TypeError) as fault:
        raise OSError(f"the server's answer breaks the rules of HTTP: {fault!r}") from fault
    os.replace(part, output_file)


def _save(answer: Any, part: Path, have: int) -> None:
    """Append to the part what the server sends, up to a total size and time."""
    total, began = answer.length and have + answer.length, time.monotonic()
    bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, delay=2)
    with part.open("ab" if have else "wb") as file, bar:
        while chunk := answer.read1(1 << 20):
            file.write(chunk)
            bar.update(len(chunk))
            seconds = time.monotonic() - began
            if file.tell() > _MAX_BYTES or seconds > _MAX_SECONDS:
                told = f"stopped after {file.tell():,} bytes and {seconds:.0f} s"
                file.truncate(0)
                raise OSError(f"{told}, which is more than any file of the course needs")
        if total and file.tell() < total:
            raise OSError(f"the server sent {file.tell() - have:,} of {total - have:,} bytes")


@contextmanager
def _whole(folder: Path, file: Path, what: str) -> Iterator[Path]:
    """Give a folder to fill; it gets its name once it is whole, and what is wrong is one error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        made = Path(temporary, folder.name)
        made.mkdir()
        try:
            yield made
            os.replace(made, folder)
        except Exception as fault:  # of any library that unpacks, or of the disk
            if not folder.is_dir():  # else another process has just made it
                said = visible(f"no {fault}" if isinstance(fault, KeyError) else fault)
                what = f"it cannot be unpacked as {what} ({said})"
                fix = "if it is one, delete it and fetch it again."
                raise DownloadError(f"{file}: {what}; {fix}") from fault


def unpack_npz(file: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Unpack a MedMNIST file to ``FOLDER/{split}/{class}/*.png``, whole or not at all.

    Parameters
    ----------
    file : path-like
        A MedMNIST ``.npz`` of 2-D images with one label each.
    folder : path-like
        The folder to make. One that is there already is left as it is.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DownloadError
        If the file is not such an archive, or the disk is full.
    """
    target = Path(folder).expanduser()
    if not target.is_dir():
        with _whole(target, Path(file), "a MedMNIST archive") as made:
            _unpack_npz([Path(file)], made)
    return target


def _unpack_npz(files: list[Path], made: Path) -> _Unpacked:
    """Write the images of each split, each into the folder of its class."""
    rows, known = [], _CLASSES.get(files[0].stem.partition("_")[0])
    with np.load(files[0], allow_pickle=False) as archive:
        for split in ("train", "val", "test"):
            images, labels = archive[f"{split}_images"], archive[f"{split}_labels"]
            if labels.ndim != 2 or labels.shape[1] != 1:
                what = f"it has {labels.shape[-1]} findings per image; a class needs one label"
                raise ValueError(what)
            if images.dtype != np.uint8 or images.shape[3:] not in ((), (3,)) or images.ndim < 3:
                raise ValueError(f"its images are {images.dtype} {images.shape}, not 2-D pictures")
            names = known or [f"class_{k:02}" for k in range(int(labels.max()) + 1)]
            bar = tqdm(zip(images, labels[:, 0], strict=True), split, len(labels), delay=2)
            for number, (image, label) in enumerate(bar):
                path = f"{split}/{names[int(label)]}/{number:05}.png"
                _write(made / path, image)
                rows.append({"path": path, "label": names[int(label)], "split": split})
    return pd.DataFrame(rows), []


def _write(target: Path, picture: bytes | npt.NDArray[np.uint8]) -> None:
    """Write a picture: a file as it came, or pixels as PNG."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, bytes):
        target.write_bytes(picture)
    else:
        Image.fromarray(picture).save(target)


def _unpack_zips(parts: list[dict[str, Any]], files: list[Path], made: Path) -> _Unpacked:
    """Write the images of zip archives that can be read whole.

    Of equal images the table has one: that of the published test, else the first. Where their
    labels contradict each other, it has only what is in the test.
    """
    rows, left_out = list[dict[str, Any]](), list[str]()
    for file in files:
        with zipfile.ZipFile(file) as archive:
            members = _members(archive, made)
            listed = [(part, *each) for part in parts for each in _listed(archive, members, part)]
            for part, member, cells in tqdm(listed, file.stem, delay=2):
                name, pictures = Path(member.filename), {"path": archive.read(member)}
                if name.suffix == ".mat":
                    cells, pictures = _slice(pictures["path"])
                told = {"file": name.name, "stem": name.stem, **cells}
                row = {column: text.format(**told) for column, text in part["columns"].items()}
                if name.suffix != ".mat" and not _whole_picture(pictures["path"]):
                    left_out.append(row["path"])
                    continue
                for column, picture in pictures.items():
                    _write(made / row[column], picture)
                kept = {column: cells[column] for column in part.get("keep", [])}
                rows.append({**row, **kept, "same": (member.CRC, member.file_size)})
    if not rows or not all(row["label"] for row in rows):
        raise ValueError("it has no images with a label where they should be")
    table = pd.DataFrame(rows)
    test = table.get("split", pd.Series("", table.index)).eq("test")
    again = table.loc[test.sort_values(ascending=False, kind="stable").index, "same"].duplicated()
    disputed = table.groupby("same")["label"].transform("nunique").gt(1)
    drop = ~test & (again | disputed)
    return table[~drop].drop(columns="same"), [*left_out, *table.loc[drop, "path"]]


def _members(archive: zipfile.ZipFile, made: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, in small letters, once all of them are safe to unpack."""
    found = archive.infolist()
    sizes, room = [each.file_size for each in found] or [0], shutil.disk_usage(made).free
    if len(found) > _MAX_MEMBERS or max(sizes) > _MAX_MEMBER or sum(sizes) > _MAX_UNPACKED:
        what = f"{len(found):,} members, {sum(sizes):,} bytes, {max(sizes):,} in one of them"
        raise ValueError(f"{what}: more than any set of the course has")
    if sum(sizes) > room:
        raise OSError(f"it needs {sum(sizes):,} bytes on the disk and {room:,} are free")
    for each in found:
        name, kind = PurePosixPath(each.filename.replace("\\", "/")), each.external_attr >> 16
        out = name.is_absolute() or ".." in name.parts or each.filename[1:2] == ":"
        if out or stat.S_IFMT(kind) not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "leads out of the folder" if out else "is a link or a device, not a file"
            raise ValueError(f"its member '{each.filename}' {what}")
    return {f"/{each.filename}".lower(): each for each in found if "__MACOSX" not in each.filename}


def _listed(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], part: dict[str, Any]
) -> Iterator[tuple[zipfile.ZipInfo, dict[str, str]]]:
    """Yield each image of a part with the cells of its row, if a table lists the images."""
    if "table" not in part:
        yield from ((members[n], {}) for n in fnmatch.filter(members, part["image"].lower()))
        return
    tables = fnmatch.filter(members, f"*/{part['table']}".lower())
    if not tables:
        raise LookupError(f"it has no {part['table']}")
    table = members[tables[0]]
    cells = read_table(archive.open(table)).rename(columns=str.strip).map(str.strip)
    cells = cells[(cells != "").any(axis=1)].replace(part.get("values", {}))
    for values in cells.to_numpy():
        row = dict(zip(map(str, cells), values, strict=True))
        image = table.filename[: -len(part["table"])] + part["image"].format(**row)
        if f"/{image}".lower() not in members:
            raise LookupError(f"it has no {image}, which {part['table']} lists")
        yield members[f"/{image}".lower()], row


def _whole_picture(data: bytes) -> bool:
    """Return whether a picture can be read to its end (a JPEG at an eighth of its size)."""
    with suppress(Exception), Image.open(io.BytesIO(data)) as picture:
        picture.draft(None, (1, 1))
        picture.load()
        return True
    return False


def _slice(data: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """Return label and patient of one of Cheng's slices, and its image and mask as 8 bits."""
    with import_module("h5py").File(io.BytesIO(data), "r") as hdf5:
        found = hdf5["cjdata"]
        if found["image"].size > _MAX_MEMBER or found["image"].shape != found["tumorMask"].shape:
            raise ValueError(f"a slice has an image of {found['image'].shape}")
        # HDF5 has MATLAB's rows as columns.
        image, mask = (np.asarray(found[key], np.float64).T for key in ("image", "tumorMask"))
        label, patient = int(found["label"][0, 0]), "".join(map(chr, np.ravel(found["PID"])))
    low, high = np.percentile(image, (1, 99))
    grey = np.clip((image - low) / max(high - low, 1), 0, 1)
    pixels = {"path": np.round(255 * grey), "mask_path": np.where(mask > 0, 255, 0)}
    cells = {"label": _TUMOURS[label], "patient": patient}
    return cells, {column: picture.astype(np.uint8) for column, picture in pixels.items()}

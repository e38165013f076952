"""Public data: fetched from where its publisher keeps it, with its licence and whom to cite.

What is known of each set, and how its archive becomes a table, stands in ``sources.toml``. A
download is resumed when it broke off, checked against a sum, and there whole or not at all; so is
the folder that is made of it.
"""

import fnmatch
import io
import json
import os
import stat
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from urllib import error, request

import numpy as np
import pandas as pd
import pooch
from PIL import Image

from medimg.errors import DownloadError
from medimg.progress import tqdm
from medimg.storage import sha256
from medimg.tables import read_table, visible, write_table

pooch.get_logger().setLevel("WARNING")  # it advises users to write code
Members = dict[str, zipfile.ZipInfo]
_MAX_BYTES, _MAX_SECONDS = 20 << 30, 6 * 3600.0  # of a download; a body without end stops here
_MAX_MEMBERS, _MAX_MEMBER, _MAX_UNPACKED = 20_000, 1 << 28, 16 << 30  # of an archive; in bytes
_TUMOURS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
SETS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("sources.toml").read_text("utf-8"))
"""What is known of each set, by its name; see the comment in ``sources.toml``."""


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
    Patients: known. Note: the publisher states no checksum, ...
    """
    known = SETS[name]
    return f"""{name}: {known["about"]}; {known["page"]}
Licence: {known["licence"]}. Please cite: {known["citation"]}.
Patients: {known["patients"]}.{" Note: " + known["note"] + "." if "note" in known else ""}"""


def fetch(name: str, root: str | os.PathLike[str]) -> Path:
    """Fetch a set and lay it out as a folder with a study table.

    Parameters
    ----------
    name : str
        One of `SETS`.
    root : path-like
        Where real data lie.

    Returns
    -------
    Path
        ``ROOT/NAME``, as :func:`unpack` makes it. One that is there already is left as it is.

    Raises
    ------
    DownloadError
        Without h5py where the set needs it, if an archive cannot be downloaded (see
        :func:`download`) or is not laid out as expected, and if the disk is full.

    References
    ----------
    See :func:`about` of each.
    """
    known, folder = SETS[name], Path(root).expanduser() / name
    if folder.is_dir():
        return folder
    if find_spec(needed := known.get("needs", "io")) is None:
        raise DownloadError(f"{name} needs {needed}; install {needed} (`pip install {needed}`).")
    return unpack([download(file, folder.parent) for file in known["files"]], folder, name)


def download(file: dict[str, Any], folder: str | os.PathLike[str]) -> Path:
    """Download a file unless it is there already and right.

    Bytes go to ``NAME.part``, which a later call continues where it broke off. Only a file whose
    checksum is right gets its name.

    Parameters
    ----------
    file : dict
        ``name``, ``url`` and, if the publisher states one, ``hash``, such as ``"md5:..."``; as in
        `SETS`.
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
    part, url, known = target.with_name(f"{target.name}.part"), file["url"], file.get("hash")

    def get(address: str, unchecked: str, _: object) -> None:
        _download(address, part)
        os.replace(part, unchecked)

    try:
        pooch.retrieve(url, known, fname=target.name, path=target.parent, downloader=get)
    except (OSError, HTTPException, ValueError, LookupError, TypeError) as fault:
        said = " ".join(f"the download broke off ({fault!r})".split())
        here = f"{part.stat().st_size:,} bytes are kept" if part.exists() else "nothing is kept"
        raise DownloadError(f"{url}: {said}; {here}; run the same command again.") from fault
    return target


def _download(url: str, part: Path) -> None:
    """Continue the part that an earlier run left."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "medimg"} | ({"Range": f"bytes={have}-"} if have else {})
    if "/releases/tags/" in url:  # GitHub tells where the files of a release lie
        with request.urlopen(url, timeout=30) as answer:
            url = max(json.load(answer)["assets"], key=lambda a: a["size"])["browser_download_url"]
    try:
        with request.urlopen(request.Request(url, headers=headers), timeout=30) as answer:
            _save(answer, part, have if answer.status == 206 else 0)
    except error.HTTPError as refused:
        if refused.code != 416:  # 416: the part is whole already
            raise


def _save(answer: Any, part: Path, have: int) -> None:
    """Append to the part what the server sends, up to a total size and time."""
    total, began = answer.length and have + answer.length, time.monotonic()
    bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, delay=2)
    with part.open("ab" if have else "wb") as file, bar:
        while chunk := answer.read1(1 << 20):
            bar.update(file.write(chunk))
            if file.tell() > _MAX_BYTES or time.monotonic() - began > _MAX_SECONDS:
                file.truncate(0)
                raise OSError("stopped: it is more, or slower, than any file of the course")
        if total and file.tell() < total:
            raise OSError(f"the server sent {file.tell() - have:,} of {total - have:,} bytes")


def unpack(files: list[Path], folder: str | os.PathLike[str], name: str) -> Path:
    """Unpack the archives of a set, or a MedMNIST ``.npz``, to a folder, whole or not at all.

    Parameters
    ----------
    files : list of Path
        All archives of the set, or one ``.npz`` of 2-D images with one label each.
    folder : path-like
        The folder to make. One that is there already is left as it is.
    name : str
        One of `SETS`, or the name of another set of MedMNIST, whose classes are then numbered.

    Returns
    -------
    Path
        The folder, with the images, ``studies.csv`` (path, label; patient and split where the
        publisher gives them) and SOURCE.json (addresses, licence, citation, what was left out, and
        the SHA-256 of each archive).

    Raises
    ------
    DownloadError
        If a file is not such an archive, or the disk is full.
    """
    target, known = Path(folder).expanduser(), SETS.get(name, {})
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        made = Path(temporary, target.name)
        made.mkdir()
        try:
            if "parts" in known:
                table, left_out = _unpack_zips(files, made, known["parts"])
            else:
                table, left_out = _unpack_npz(files[0], made, known.get("classes")), []
            write_table(table, made / "studies.csv")
            told = {**known, "left_out": left_out, "sha256": [*map(sha256, files)]}
            (made / "SOURCE.json").write_text(json.dumps(told, indent=2), encoding="utf-8")
            os.replace(made, target)
        except Exception as fault:  # of any library that unpacks, or of the disk
            if not target.is_dir():  # else another process has just made it
                said = visible(f"no {fault}" if isinstance(fault, KeyError) else fault)
                what = f"it cannot be unpacked as the archive of {name} ({said})"
                raise DownloadError(f"{files[0]}: {what}; delete it and get it again.") from fault
    return target


def _unpack_npz(file: Path, made: Path, classes: list[str] | None) -> pd.DataFrame:
    """Write the images of each split, each into the folder of its class."""
    rows = []
    with np.load(file, allow_pickle=False) as archive:
        for split in ("train", "val", "test"):
            images, labels = archive[f"{split}_images"], archive[f"{split}_labels"]
            pictures = images.dtype == np.uint8 and images.shape[3:] in ((), (3,))
            if not pictures or images.ndim < 3 or labels.shape != (len(images), 1):
                raise ValueError(f"{labels.shape} labels, {images.shape}: not pictures of a class")
            names = dict(enumerate(classes or [f"class_{k:02}" for k in range(labels.max() + 1)]))
            for number, (image, label) in enumerate(zip(images, labels[:, 0], strict=True)):
                path = f"{split}/{names[int(label)]}/{number:05}.png"
                _write(made / path, image)
                rows.append({"path": path, "label": names[int(label)], "split": split})
    return pd.DataFrame(rows)


def _write(target: Path, picture: Any) -> None:
    """Write a picture: a file as it came, or pixels as PNG."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, bytes):
        target.write_bytes(picture)
    else:
        Image.fromarray(picture).save(target)


def _unpack_zips(files: list[Path], made: Path, parts: Any) -> tuple[pd.DataFrame, list[str]]:
    """Write the images of zip archives that can be read whole; return their table, and what not.

    Of equal images the table has one: that of the published test, else the first. Where their
    labels contradict each other, it has only what is in the test.
    """
    rows, left_out = list[dict[str, Any]](), list[str]()
    for file in files:
        with zipfile.ZipFile(file) as archive:
            members = _members(archive)
            listed = [(part, *each) for part in parts for each in _listed(archive, members, part)]
            for part, member, cells in tqdm(listed, file.stem, delay=2):
                name, data = Path(member.filename), archive.read(member)
                pictures: dict[str, Any] = {"path": data} if _whole_picture(data) else {}
                if name.suffix == ".mat":
                    cells, pictures = _slice(data)
                told = {"file": name.name, "stem": name.stem, **cells}
                row = {column: text.format(**told) for column, text in part["columns"].items()}
                for column, picture in pictures.items():
                    _write(made / row[column], picture)
                if pictures:
                    image, test = (member.CRC, member.file_size), row.get("split") == "test"
                    rows.append({**row, "image": image, "test": test})
                else:
                    left_out.append(row["path"])
    table = pd.DataFrame(rows)
    disputed = table.groupby("image")["label"].transform("nunique") > 1
    again = table.sort_values("test", ascending=False, kind="stable").duplicated("image")
    drop = ~table["test"] & (again | disputed)
    return table[~drop].drop(columns=["image", "test"]), [*left_out, *table.loc[drop, "path"]]


def _members(archive: zipfile.ZipFile) -> Members:
    """Return the members by name, in small letters, once all of them are safe to unpack."""
    found = archive.infolist()
    sizes = [0, *(each.file_size for each in found)]
    if len(found) > _MAX_MEMBERS or max(sizes) > _MAX_MEMBER or sum(sizes) > _MAX_UNPACKED:
        raise ValueError(f"{len(found)} members, {sum(sizes):,} bytes: more than any set has")
    for each in found:
        name, kind = PurePosixPath(each.filename.replace("\\", "/")), each.external_attr >> 16
        out = name.is_absolute() or ".." in name.parts or each.filename[1:2] == ":"
        if out or stat.S_IFMT(kind) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"'{each.filename}' leads out of the folder, or is a link or a device")
    return {f"/{each.filename}".lower(): each for each in found if "__MACOSX" not in each.filename}


def _listed(archive: zipfile.ZipFile, members: Members, part: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each image of a part with the cells of its row, if a table lists the images."""
    if "table" not in part:
        yield from ((members[n], {}) for n in fnmatch.filter(members, part["image"].lower()))
        return
    tables = fnmatch.filter(members, f"*/{part['table']}".lower())
    table = members[min(tables, default=part["table"])]
    cells = read_table(archive.open(table)).rename(columns=str.strip).map(str.strip)
    cells = cells[(cells != "").any(axis=1)].replace(part.get("values", {}))
    for row in cells.to_dict("records"):
        image = table.filename[: -len(part["table"])] + part["image"].format_map(row)
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
        if any(each.external or each.is_virtual for each in found.values()):
            raise ValueError("a slice takes its values from another file")
        # HDF5 has MATLAB's rows as columns.
        image, mask = (np.asarray(found[key], np.float64).T for key in ("image", "tumorMask"))
        label, patient = int(found["label"][0, 0]), "".join(map(chr, np.ravel(found["PID"])))
    low, high = np.percentile(image, (1, 99))
    grey = np.clip((image - low) / max(high - low, 1), 0, 1)
    pixels = {"path": np.round(255 * grey), "mask_path": np.where(mask > 0, 255, 0)}
    cells = {"label": _TUMOURS[label], "patient": patient}
    return cells, {column: picture.astype(np.uint8) for column, picture in pixels.items()}

"""Downloads against a server on loopback: whole, broken off, resumed, wrong, hostile."""

import contextlib
import hashlib
import io
import json
import os
import re
import socket
import stat
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medimg import datasets, sources
from medimg.__main__ import main
from medimg.errors import DownloadError, StudyTableError


class _Server(ThreadingHTTPServer):
    body = b""
    bodies: dict[str, bytes]
    break_after: int | None = None
    ranges: list[str]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self):
        asked = self.headers.get("Range", "")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        body = self.server.bodies.get(self.path, self.server.body)[start:]
        if asked and not body:
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.break_after])

    def log_message(self, *args):
        pass


def _npz(rng):
    file = io.BytesIO()
    arrays = {}
    for split, n in {"train": 6, "val": 4, "test": 2}.items():
        arrays[f"{split}_images"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n) % 2)[:, None]
    np.savez(file, **arrays)
    return file.getvalue(), arrays


@pytest.fixture
def server():
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.ranges, server.bodies = [], {}
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


def _file(server, *, md5=None, name="file.npz"):
    md5 = md5 or hashlib.md5(server.body).hexdigest()
    url = f"http://127.0.0.1:{server.server_port}/{name}"
    return {"name": name, "url": url, "hash": f"md5:{md5}"}


def _unnamed(url, md5="0" * 32):
    return {"name": "file", "url": url, "hash": f"md5:{md5}"}


def test_fetch_is_whole_and_is_not_fetched_twice(server, tmp_path):
    server.body = b"x" * 3_000_000
    for _ in range(2):
        file = sources.download(_file(server), tmp_path)
    assert file.read_bytes() == server.body
    assert server.ranges == [""]
    assert [p.name for p in tmp_path.iterdir()] == ["file.npz"]


def test_fetch_goes_on_where_it_broke_off(server, tmp_path):
    server.body = bytes(range(256)) * 8_000
    server.break_after = 700_000
    with pytest.raises(DownloadError, match="700,000 bytes are kept; run the same command again"):
        sources.download(_file(server), tmp_path)
    server.break_after = None
    file = sources.download(_file(server), tmp_path)
    assert file.read_bytes() == server.body
    assert server.ranges == ["", "bytes=700000-"]


def test_fetch_accepts_a_part_that_is_whole_already(server, tmp_path):
    server.body = b"whole"
    (tmp_path / "file.npz.part").write_bytes(b"whole")
    assert sources.download(_file(server), tmp_path).read_bytes() == b"whole"


def test_fetch_deletes_a_wrong_file(server, tmp_path):
    server.body = b"not what was published"
    with pytest.raises(DownloadError, match="Deleted download for safety"):
        sources.download(_file(server, md5="0" * 32), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_fetch_names_a_server_that_is_not_there(tmp_path):
    with pytest.raises(DownloadError, match="nothing is kept"):
        sources.download(_unnamed("http://127.0.0.1:9/file"), tmp_path)


def test_pneumoniamnist_becomes_a_study_table(server, tmp_path, rng, monkeypatch):
    server.body, arrays = _npz(rng)
    file = _file(server, name="pneumoniamnist_224.npz")
    monkeypatch.setitem(sources.SETS["pneumoniamnist"], "files", [file])
    for _ in range(2):
        folder = sources.fetch("pneumoniamnist", tmp_path)
    assert '"licence": "CC BY 4.0"' in (folder / "SOURCE.json").read_text(encoding="utf-8")
    studies = datasets.load("pneumoniamnist", root=tmp_path)
    assert studies["split"].value_counts().to_dict() == {"train": 6, "val": 4, "test": 2}
    row = studies[studies["image_id"] == "val/pneumonia/00003"]
    decoded = datasets.decode(row, size=28)
    np.testing.assert_array_equal(decoded.images[0], arrays["val_images"][3])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"other": np.zeros(3)}, "cannot be unpacked"),
        ({"labels": np.zeros((4, 14), np.uint8)}, "not pictures of a class"),
        ({"images": np.zeros((4, 8, 8, 8), np.uint8)}, "not pictures of a class"),
        ({"images": np.zeros((4, 8, 8), float)}, "not pictures of a class"),
        ({"labels": np.full((4, 1), 7, np.uint8)}, r"cannot be unpacked .*\(no 7\)"),
        ({"labels": np.full((4, 1), -1)}, r"cannot be unpacked .*\(no -1\)"),
        ({"images": np.zeros((3, 8, 8), np.uint8)}, "cannot be unpacked"),
    ],
)
def test_unpack_refuses_another_file(tmp_path, arrays, words):
    kinds = {"images": np.zeros((4, 8, 8), np.uint8), "labels": np.zeros((4, 1), np.uint8)}
    whole = {
        f"{s}_{k}": arrays.get(k, v) for s in ("train", "val", "test") for k, v in kinds.items()
    }
    file = tmp_path / "pneumoniamnist.npz"
    np.savez(file, **({"other": arrays["other"]} if "other" in arrays else whole))
    with pytest.raises(DownloadError, match=words):
        sources.unpack([file], tmp_path / "out", "pneumoniamnist")
    assert [p.name for p in tmp_path.iterdir()] == ["pneumoniamnist.npz"]


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 junk", b"\x93NUMPY", b"<html>"])
def test_unpack_refuses_what_is_no_archive(tmp_path, data):
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(DownloadError, match=r"x\.npz: it cannot be unpacked"):
        sources.unpack([tmp_path / "x.npz"], tmp_path / "out", "x")


def test_a_left_temporary_folder_of_the_same_process_does_no_harm(tmp_path, rng):
    body, _ = _npz(rng)
    (tmp_path / "f.npz").write_bytes(body)
    left = tmp_path / f".out.{os.getpid()}"
    (left / "train" / "normal").mkdir(parents=True)
    folder = sources.unpack([tmp_path / "f.npz"], tmp_path / "out", "f")
    names = {p.name for p in folder.iterdir()}
    assert names == {"SOURCE.json", "studies.csv", "test", "train", "val"}
    assert {p.name for p in tmp_path.iterdir()} == {"f.npz", "out", left.name}


ADDRESSES = {
    "pneumoniamnist": [
        "zenodo.org/records/10519652/files/pneumoniamnist_224.npz d6a3c71de1b945ea11211b03746c1fe1",
    ],
    "retinamnist": [
        "zenodo.org/records/10519652/files/retinamnist_224.npz eae7e3b6f3fcbda4ae613ebdcbe35348",
    ],
    "idrid": [
        "zenodo.org/records/17219542/files/B.%20Disease%20Grading.zip "
        "8a9f4752b35d74cc35ff48b21ad44f295a6f800110ec218fc2d1c264803e4d8c",
    ],
    "brain-cheng": [
        "ndownloader.figshare.com/files/3381290 74b949ad33f042e6e103523091cd1428",
        "ndownloader.figshare.com/files/3381296 7e8a875500d2c8a346f270538e29890e",
        "ndownloader.figshare.com/files/3381293 8227bf6080cb71f15a88be8d25c79ae7",
        "ndownloader.figshare.com/files/3381302 b378a80d6174e5317d59eb28430c6652",
    ],
    "fracatlas": [
        "ndownloader.figshare.com/files/65518038 "
        "b67ec2d290a022b3dcf47f78e9a37f7edcc80592c0571f439355bf00bd9f0e23",
    ],
    "covid-hannover": ["github.com/ml-workgroup/covid-19-image-repository/archive/ad7ab09.zip "],
    "covidgr": ["api.github.com/repos/ari-dasci/OD-covidgr/releases/tags/1.0 "],
}  # fmt: skip


@pytest.mark.parametrize("name", sources.SETS)
def test_addresses_and_sums_are_those_of_the_publishers(name):
    """Held twice, so that a slip in one place shows: these were checked against public loaders."""
    files = sources.SETS[name]["files"]
    said = [f"{f['url']} {f.get('hash', ':').partition(':')[2]}" for f in files]
    assert [text.replace("?download=1", "") for text in said] == [
        f"https://{address}" for address in ADDRESSES[name]
    ]


# --- servers that break the rules -----------------------------------------------------------


def _raw_server(answer, *, endless=False):
    """Answer one request with these bytes, whatever they are; `endless` repeats the last piece."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        client, _ = listener.accept()
        with client, listener, contextlib.suppress(OSError):
            client.recv(65536)
            client.sendall(answer)
            while endless:
                client.sendall(b"x" * 65536)

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/file"


@pytest.mark.parametrize(
    "answer",
    [
        b"what is this\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nbody\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nbody\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbo",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
)
def test_odd_answers_are_one_error(tmp_path, answer):
    source = _unnamed(_raw_server(answer))
    with pytest.raises(DownloadError, match=r"the download broke off .* run the same command"):
        sources.download(source, tmp_path)
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("length", [b"abc", b"-1", b"1e3"])
def test_an_odd_length_is_no_length(tmp_path, length):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\nbody"
    source = _unnamed(_raw_server(answer), hashlib.md5(b"body").hexdigest())
    assert sources.download(source, tmp_path).read_bytes() == b"body"


@pytest.mark.parametrize("limit", ["_MAX_BYTES", "_MAX_SECONDS"])
def test_a_body_without_end_is_stopped(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(sources, limit, {"_MAX_BYTES": 1 << 20, "_MAX_SECONDS": 0.3}[limit])
    url = _raw_server(b"HTTP/1.1 200 OK\r\n\r\n", endless=True)
    with pytest.raises(DownloadError, match=r"more, or slower, than any file of the course"):
        sources.download(_unnamed(url), tmp_path)
    assert not (tmp_path / "file").exists()
    left = tmp_path / "file.part"
    assert not left.exists() or left.stat().st_size < 3 << 20


# --- archives laid out as the published ones ------------------------------------------------------


def _picture(rng, kind="jpeg", colour=False):
    file = io.BytesIO()
    pixels = rng.integers(0, 256, (40, 56, 3) if colour else (40, 56), dtype=np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def _zip(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _idrid(rng):
    top, members = "B. Disease Grading", {}
    for letter, kind, n in (("a", "Training", 10), ("b", "Testing", 4)):
        rows = ["Image name,Retinopathy grade,Risk of macular edema ,,,"]
        for number in range(1, n + 1):
            name = f"IDRiD_{number:03}"
            rows.append(f"{name},{number % 5},{number % 3},,,")
            folder = f"{top}/1. Original Images/{letter}. {kind} Set"
            members[f"{folder}/{name}.jpg"] = _picture(rng, colour=True)
        rows.append(",,,,,")
        table = f"{top}/2. Groundtruths/{letter}. IDRiD_Disease Grading_{kind} Labels.csv"
        members[table] = "\ufeff" + "\r\n".join(rows)
    # As in the published set: a pair with two grades, a pair with one, one across the split.
    for one, other in (("a. Training Set/IDRiD_002", "a. Training Set/IDRiD_003"),
                       ("a. Training Set/IDRiD_001", "a. Training Set/IDRiD_006"),
                       ("b. Testing Set/IDRiD_004", "a. Training Set/IDRiD_005")):  # fmt: skip
        images = f"{top}/1. Original Images"
        members[f"{images}/{other}.jpg"] = members[f"{images}/{one}.jpg"]
    return {**members, f"{top}/LICENSE.txt": "CC BY 4.0", "__MACOSX/._B. Disease Grading": "x"}


def _fracatlas(rng):
    head = ("image_id,hand,leg,hip,shoulder,mixed,hardware,multiscan,fractured,fracture_count,"
            "frontal,lateral,oblique")  # fmt: skip
    rows, members = [head], {"FracAtlas/Annotations/YOLO/IMG0000000.txt": "0 0.5 0.5 0.1 0.1"}
    for number in range(12):
        broken = number % 3 == 0
        name, folder = f"IMG{number:07}.jpg", "Fractured" if broken else "Non_fractured"
        rows.append(f"{name},1,0,0,0,0,0,{number % 2},{broken:d},{broken:d},1,0,0")
        members[f"FracAtlas/images/{folder}/{name}"] = _picture(rng)
    where = "FracAtlas/images/Non_fractured"
    members[f"{where}/IMG0000005.jpg"] = members[f"{where}/IMG0000004.jpg"]
    members[f"{where}/IMG0000007.jpg"] = members[f"{where}/IMG0000007.jpg"][:-400]  # ends early
    # In both folders, as IMG0003375 is; the table says which holds.
    members[f"{where}/IMG0000000.jpg"] = members["FracAtlas/images/Fractured/IMG0000000.jpg"]
    return {**members, "FracAtlas/dataset.csv": "\n".join(rows)}


def _hannover(rng):
    rows = ["patient_id,image_id,sex,age,size,weight,admission_offset,icu_admission_offset,"
            "icu_release_offset,death_offset,modality,projection,crp_offset,crp_val"]  # fmt: skip
    members, top = {}, "covid-19-image-repository-ad7ab09"
    for number in range(12):
        image = f"b343e6{number:02}"
        rows.append(f"042f06a{number // 2},{image},m,,,,-{number},0.0,4.0,,CR,ap,0.0,5.0")
        members[f"{top}/png/{image}.png"] = _picture(rng, "png")
    return {**members, f"{top}/data.csv": "\n".join(rows), f"{top}/readme.md": "#"}


def _covidgr(rng):
    images = {f"COVIDGR_1.0/{c}/{c}_{n}.{'jpg' if n else 'JPG'}": _picture(rng)
              for c in "NP" for n in range(10)}  # fmt: skip
    return {**images, "COVIDGR_1.0/severity.csv": "Name,Severity\nP_1,MILD"}


def _cheng(rng):
    h5py, members = pytest.importorskip("h5py"), {}
    for number in range(1, 13):
        file = io.BytesIO()
        image = rng.integers(0, 2000, (48, 32), dtype=np.int16)  # rows, columns, in MATLAB
        image[:24] //= 100
        with h5py.File(file, "w", userblock_size=512) as mat:
            data = mat.create_group("cjdata")
            data["image"], data["tumorMask"] = image.T, (image.T > 1000).astype(np.uint8)
            data["label"] = np.array([[number % 3 + 1.0]])
            data["PID"] = np.array(
                [[ord(c)] for c in f"10{number // 2 * 3 + number % 3}"], "uint16"
            )
            data["tumorBorder"] = np.zeros((1, 4))
        header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 ."
        members[f"{number}.mat"] = header + file.getvalue()[len(header) :]
    return members


BUILD = {"idrid": _idrid, "fracatlas": _fracatlas, "covid-hannover": _hannover,
         "covidgr": _covidgr, "brain-cheng": _cheng}  # fmt: skip
WHOLE = [*BUILD, "retinamnist"]


def _retina(rng):
    arrays = {}
    for split, n in {"train": 10, "val": 5, "test": 5}.items():
        arrays[f"{split}_images"] = rng.integers(0, 256, (n, 28, 28, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n) % 5)[:, None].astype(np.uint8)
    return arrays


@pytest.fixture
def publish(server, monkeypatch, rng):
    """Offer a set from the loopback server, with its sum where the publisher states one."""

    def offer(name, *archives):
        if not archives and name == "retinamnist":
            file = io.BytesIO()
            np.savez(file, **_retina(rng))
            archives = [file.getvalue()]
        archives = archives or [_zip(BUILD[name](rng))]
        published, files = sources.SETS[name]["files"], []
        for number, body in enumerate(archives):
            known, path = published[number], f"/{number}.zip"
            server.bodies[path], url = body, f"http://127.0.0.1:{server.server_port}"
            told = {"name": known["name"], "url": url + path}
            if "/releases/tags/" in known["url"]:
                notes = {"size": 5, "browser_download_url": f"{url}/notes.txt"}
                listed = {"size": len(body), "browser_download_url": told["url"]}
                listing = {"assets": [notes, listed]}
                server.bodies["/releases/tags/1.0"] = json.dumps(listing).encode()
                told["url"] = f"{url}/releases/tags/1.0"
            if "hash" in known:
                kind = known["hash"].partition(":")[0]
                told["hash"] = f"{kind}:{hashlib.new(kind, body).hexdigest()}"
            files.append(told)
        monkeypatch.setitem(sources.SETS[name], "files", files)
        return archives

    return offer


def _refused(name, folder, words, left=()):
    with pytest.raises(DownloadError, match=words) as error:
        sources.fetch(name, folder)
    assert "\n" not in str(error.value)
    here = {p.name for p in folder.iterdir()} - {f["name"] for f in sources.SETS[name]["files"]}
    assert here == set(left)


@pytest.mark.parametrize("name", WHOLE)
def test_a_set_is_fetched_once_and_read_by_its_name(publish, server, tmp_path, capsys, name):
    publish(name)
    for _ in range(2):
        assert main(["fetch", name, "--root", str(tmp_path)]) == 0
    assert len(server.ranges) == (2 if name == "covidgr" else 1)
    known, said = sources.SETS[name], capsys.readouterr().out
    for text in (known["licence"], known["citation"], known["patients"], "MEDIMG_DATASET"):
        assert text in said
    assert ("the publisher states no checksum" in said) == (name in {"covid-hannover", "covidgr"})
    studies = datasets.load(name, root=tmp_path)
    assert all(map(os.path.isfile, studies["path"]))
    assert datasets.patients_known(studies) == (known["patients"] == "known")
    decoded = datasets.decode(studies, size=16, channels=3)
    assert len(decoded) == len(studies) == {
        "idrid": 10, "fracatlas": 10, "covid-hannover": 12, "covidgr": 20, "brain-cheng": 12,
        "retinamnist": 20,
    }[name]  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_set_is_resumed_where_it_broke_off(publish, server, tmp_path, name):
    body = publish(name)[0]
    server.break_after = 700
    part = sources.SETS[name]["files"][0]["name"] + ".part"
    _refused(name, tmp_path, "700 bytes are kept; run the same command again", left=[part])
    server.break_after = None
    sources.fetch(name, tmp_path)
    assert server.ranges[-1] == "bytes=700-"
    assert (tmp_path / sources.SETS[name]["files"][0]["name"]).read_bytes() == body


@pytest.mark.parametrize("name", sorted({*WHOLE} - {"covid-hannover", "covidgr"}))
def test_another_file_than_published_is_not_unpacked(publish, server, tmp_path, name):
    body = publish(name)[0]
    server.bodies["/0.zip"] = body[:-1] + b"?"
    _refused(name, tmp_path, "does not match the known hash: .*Deleted download for safety")


@pytest.mark.parametrize("name", WHOLE)
def test_an_archive_that_was_carried_here_needs_no_network(publish, server, tmp_path, name):
    body = publish(name)[0]
    (tmp_path / sources.SETS[name]["files"][0]["name"]).write_bytes(body)
    assert (sources.fetch(name, tmp_path) / "studies.csv").is_file()
    assert server.ranges == []


def test_columns_are_those_of_the_publisher(publish, tmp_path):
    tables = {}
    for name in ("idrid", "fracatlas", "covid-hannover", "covidgr"):
        publish(name)
        tables[name] = pd.read_csv(sources.fetch(name, tmp_path) / "studies.csv", dtype=str)
    idrid = tables["idrid"]
    assert idrid.columns.tolist() == ["path", "label", "split", "dme"]
    left_out = json.loads((tmp_path / "idrid" / "SOURCE.json").read_text(encoding="utf-8"))[
        "left_out"
    ]
    assert left_out == [f"train/IDRiD_00{n}.jpg" for n in (2, 3, 5, 6)]
    assert idrid["split"].value_counts().to_dict() == {"train": 6, "test": 4}
    assert idrid.iloc[[0, 6]].to_numpy().tolist() == [
        ["train/IDRiD_001.jpg", "1", "train", "1"], ["test/IDRiD_001.jpg", "1", "test", "1"],
    ]  # fmt: skip
    frac = tables["fracatlas"].set_index("path")
    assert frac["label"].value_counts().to_dict() == {"non_fractured": 6, "fractured": 4}
    assert frac.loc["images/IMG0000000.jpg", ["label", "multiscan"]].tolist() == ["fractured", "0"]
    note = json.loads((tmp_path / "fracatlas" / "SOURCE.json").read_text(encoding="utf-8"))
    assert note["left_out"] == ["images/IMG0000007.jpg", "images/IMG0000005.jpg"]
    first = tables["covid-hannover"].iloc[0].to_dict()
    assert first == {"path": "covid/b343e600.png", "label": "covid", "source": "hannover",
                     "view": "ap", "patient_id": "042f06a0", "sex": "m", "admission_offset": "-0",
                     "modality": "CR"}  # fmt: skip
    assert tables["covidgr"]["label"].value_counts().to_dict() == {"normal": 10, "covid": 10}


def test_grades_of_the_retina_are_ordered_and_split_as_published(publish, tmp_path):
    for name in ("idrid", "retinamnist"):
        publish(name)
        sources.fetch(name, tmp_path)
        found = datasets.summary(datasets.load(name, root=tmp_path))
        assert found.ordinal
        assert found.classes == ("0", "1", "2", "3", "4")
    assert {split: sum(n.values()) for split, n in found.images.items()} == {
        "train": 10, "val": 5, "test": 5,
    }  # fmt: skip


def test_slices_of_cheng_become_pictures_with_masks_and_patients(publish, tmp_path, rng):
    publish("brain-cheng", *[_zip(_cheng(rng))] * 1)
    folder = sources.fetch("brain-cheng", tmp_path)
    studies = datasets.load("brain-cheng", root=tmp_path).set_index("image_id")
    assert set(studies["label"]) == {"glioma", "meningioma", "pituitary"}
    row = studies.loc["slices/1"]  # label 2
    assert (row["label"], row["patient_id"]) == ("glioma", "101")
    picture = np.asarray(Image.open(row["path"]))
    assert picture.shape == (48, 32)  # upright, as MATLAB shows it
    assert (picture.min(), picture.max()) == (0, 255)
    assert picture[:24].mean() < picture[24:].mean() / 10
    mask = np.asarray(Image.open(row["mask_path"]))
    assert set(np.unique(mask)) == {0, 255}
    assert not mask[:24].any()
    assert datasets.decode_masks(studies.reset_index(), size=16).any()
    assert (folder / "masks" / "12.png").is_file()


@pytest.mark.parametrize("change", ["image", "label", "cjdata", "mask", "object", "file"])
def test_another_matlab_file_is_refused(publish, tmp_path, change):
    """One with a slice of a terabyte, of objects, or of what stands in another file, too."""
    h5py, file = pytest.importorskip("h5py"), io.BytesIO()
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(file, "w") as mat:
        data = mat.create_group("other" if change == "cjdata" else "cjdata")
        shape = (1 << 20, 1 << 20) if change == "image" else (8, 8)
        kind = h5py.ref_dtype if change == "object" else "u1"
        pixels = {"external": [(str(tmp_path / "secret"), 0, 64)]} if change == "file" else {}
        data.create_dataset("image", shape, kind, chunks=None if pixels else (8, 8), **pixels)
        data.create_dataset("tumorMask", (4, 8) if change == "mask" else shape, "u1", chunks=(4, 8))
        data["label"], data["PID"] = [[9.0 if change == "label" else 1.0]], [[65]]
    publish("brain-cheng", _zip({"1.mat": file.getvalue()}))
    words = {
        "image": "an image of .1048576, 1048576.", "label": "no 9", "mask": "an image of .8, 8.",
        "cjdata": "cjdata", "object": "data type", "file": "takes its values from another file",
    }[change]  # fmt: skip
    left = ["secret"]
    _refused("brain-cheng", tmp_path, f"the archive of brain-cheng .*{words}", left)


def test_without_h5py_nothing_is_fetched(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    assert main(["fetch", "brain-cheng", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("install h5py (`pip install h5py`)") == 1
    assert list(tmp_path.iterdir()) == server.ranges == []


# --- archives that mean harm, or are another's ----------------------------------------------------


def _with(name, mode=0o100644, **about):
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    for key, value in about.items():
        setattr(member, key, value)
    return {member: b"/etc/passwd"}


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (_with("../evil.jpg"), "leads out of the folder"),
        (_with("COVIDGR_1.0/P/../../../evil.jpg"), "leads out of the folder"),
        (_with("/tmp/evil.jpg"), "leads out of the folder"),
        (_with("..\\evil.jpg"), "leads out of the folder"),
        (_with("C:/evil.jpg"), "leads out of the folder"),
        (_with("COVIDGR_1.0/P/link.jpg", stat.S_IFLNK | 0o777), "is a link or a device"),
        (_with("COVIDGR_1.0/P/pipe.jpg", stat.S_IFIFO | 0o644), "is a link or a device"),
        (_with("COVIDGR_1.0/P/disk.jpg", stat.S_IFBLK | 0o644), "is a link or a device"),
        ({"COVIDGR_1.0/P/bomb.jpg": b"\0" * 30_000_000}, "more than any set has"),
        ({f"COVIDGR_1.0/P/{n}.txt": b"" for n in range(300)}, "320 members|321 members"),
    ],
)
def test_a_hostile_archive_is_refused_whole(publish, tmp_path, rng, monkeypatch, extra, words):
    monkeypatch.setattr(sources, "_MAX_MEMBERS", 300)
    monkeypatch.setattr(sources, "_MAX_MEMBER", 20_000_000)
    publish("covidgr", _zip({**_covidgr(rng), **extra}))
    (tmp_path / "data").mkdir()
    _refused("covidgr", tmp_path / "data", words)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


HOSTILE = {
    "leads out of the folder": _with("../../evil.jpg"),
    "leads out of the folder, or is a link": _with("evil.jpg", stat.S_IFLNK | 0o777),
    "more than any set has": {"evil.jpg": b"\0" * 30_000_000},
}


@pytest.mark.parametrize("words", HOSTILE)
@pytest.mark.parametrize("name", BUILD)
def test_a_hostile_archive_of_any_set_is_refused_whole(
    publish, tmp_path, rng, monkeypatch, name, words
):
    monkeypatch.setattr(sources, "_MAX_MEMBER", 20_000_000)
    publish(name, _zip({**BUILD[name](rng), **HOSTILE[words]}))
    (tmp_path / "data").mkdir()
    _refused(name, tmp_path / "data", words)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("words", HOSTILE)
def test_a_hostile_array_file_writes_nothing_but_its_images(publish, tmp_path, rng, words):
    """Arrays are read by their names, and no other member of the archive is looked at."""
    file = io.BytesIO()
    np.savez(file, **_retina(rng))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        for member, content in HOSTILE[words].items():
            archive.writestr(member, content)
    publish("retinamnist", file.getvalue())
    folder = sources.fetch("retinamnist", tmp_path / "data")
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
    assert not [p for p in folder.rglob("*") if p.is_symlink() or p.stem == "evil"]
    assert len(list(folder.rglob("*.png"))) == 20


def test_an_array_of_a_terabyte_is_refused(publish, tmp_path, rng):
    """It is one in its header only: the bytes end early."""
    file, arrays = io.BytesIO(), _retina(rng)
    np.savez(file, **{name: array for name, array in arrays.items() if name != "val_images"})
    with zipfile.ZipFile(file, "a") as archive, archive.open("val_images.npy", "w") as member:
        shape = (1 << 16, 1 << 12, 1 << 12)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
    publish("retinamnist", file.getvalue())
    _refused("retinamnist", tmp_path, "cannot be unpacked as the archive of retinamnist")


@pytest.mark.parametrize("name", ["covid-hannover", "covidgr"])
def test_without_a_published_sum_the_sums_within_the_archive_are_checked(
    publish, server, tmp_path, rng, name
):
    """As a zip archive has one of each file; the SHA-256 of the whole is kept, to be compared."""
    body = bytearray(publish(name, _zip(BUILD[name](rng)))[0])
    sources.fetch(name, tmp_path / "good")
    note = json.loads((tmp_path / "good" / name / "SOURCE.json").read_text(encoding="utf-8"))
    assert note["sha256"] == [hashlib.sha256(body).hexdigest()]
    body[len(body) // 2] ^= 255
    server.bodies["/0.zip"] = bytes(body)
    (tmp_path / "spoiled").mkdir()
    _refused(name, tmp_path / "spoiled", "it cannot be unpacked .*(Error|Bad CRC)")


def test_a_picture_that_unfolds_without_end_is_left_out(publish, tmp_path, rng):
    """200,000 by 200,000 pixels in a header of 40 bytes."""
    png = _picture(rng, "png")
    size = (200_000).to_bytes(4, "big") * 2
    publish(
        "covidgr", _zip({**_covidgr(rng), "COVIDGR_1.0/P/huge.png": png[:16] + size + png[24:]})
    )
    folder = sources.fetch("covidgr", tmp_path)
    note = json.loads((folder / "SOURCE.json").read_text(encoding="utf-8"))
    assert note["left_out"] == ["covid/huge.png"]
    assert not (folder / "covid" / "huge.png").exists()


def test_a_pickle_is_never_loaded(publish, tmp_path, rng):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    file, arrays = io.BytesIO(), _retina(rng)
    np.savez(file, **{**arrays, "val_labels": np.array([[Evil()]] * 5, object)})
    publish("retinamnist", file.getvalue())
    _refused("retinamnist", tmp_path, "Object arrays cannot be loaded when allow_pickle=False")


def _locked(body):
    """Mark the first member as encrypted, in its own header and in the directory."""
    body = bytearray(body)
    body[6] |= 1
    body[body.index(b"PK\x01\x02") + 8] |= 1
    return bytes(body)


def _spoiled(body):
    """Change a byte of the first picture, as a bad disk does."""
    return body[:300] + bytes([body[300] ^ 255]) + body[301:]


TABLE = "B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda members: _zip({"other.txt": "x"}), "no '2. Groundtruths/a. IDRiD"),
        (lambda members: _zip({**members, TABLE: "name,grade\nIDRiD_001,3"}), "no 'Image name'"),
        (lambda members: _zip({**members, TABLE: "Image name,Retinopathy grade,Risk of macular "
                                                 "edema\nIDRiD_999,1,0"}),
         "no '/b. disease grading/1. original images/a. training set/idrid_999.jpg'"),
        (lambda members: _zip({**members, TABLE: b"\xff\xfe\x00"}), "can't decode byte"),
        (lambda members: _zip({**members, TABLE: ""}), "No columns"),
        (lambda members: _zip(members)[:-50], "not a zip file"),
        (lambda members: b"<html>", "not a zip file"),
        (lambda members: _locked(_zip(members)), "is encrypted"),
        (lambda members: _spoiled(_zip(members)), "Error|Bad CRC"),
    ],
)  # fmt: skip
def test_another_structure_is_one_error(publish, tmp_path, rng, change, words):
    publish("idrid", change(_idrid(rng)))
    _refused("idrid", tmp_path, rf"cannot be unpacked as the archive of idrid \(.*{words}")


def test_a_row_without_a_label_is_refused_when_it_is_loaded(publish, tmp_path, rng):
    table = "Image name,Retinopathy grade,Risk of macular edema\nIDRiD_001,,0"
    publish("idrid", _zip({**_idrid(rng), TABLE: table}))
    sources.fetch("idrid", tmp_path)
    with pytest.raises(StudyTableError, match="'label' is empty in row 1"):
        datasets.load("idrid", root=tmp_path)


@pytest.mark.parametrize("name", ["covidgr", "retinamnist"])
def test_a_disk_that_fills_up_leaves_no_half_set(publish, tmp_path, monkeypatch, name):
    publish(name)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sources, "_save", full)
        _refused(name, tmp_path, "No space left on device.*run the same command again")
    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "write_bytes", full)
        patch.setattr(Image.Image, "save", full)
        _refused(name, tmp_path, "cannot be unpacked.*No space left on device")
    assert sources.fetch(name, tmp_path).is_dir()


@pytest.mark.parametrize("listing", [b"<html>", b"{}", b'{"assets": []}', b"[]"])
def test_a_release_without_a_file_is_one_error(publish, server, tmp_path, listing):
    publish("covidgr")
    server.bodies["/releases/tags/1.0"] = listing
    _refused("covidgr", tmp_path, "the download broke off")


# --- which set a notebook works on ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "chosen", "words"),
    [
        (None, "sample_retina", ""),
        ("idrid", "idrid", ""),
        ("sample", "sample_retina", ""),
        ("kermany", "sample_retina", "MEDIMG_DATASET=kermany does not fit this notebook, which can "
         "work on idrid or retinamnist; it uses sample_retina."),
    ],
)  # fmt: skip
def test_a_notebook_says_that_a_set_does_not_fit(monkeypatch, caplog, wanted, chosen, words):
    if wanted:
        monkeypatch.setenv("MEDIMG_DATASET", wanted)
    assert datasets.choose("sample_retina", "idrid", "retinamnist") == chosen
    assert caplog.messages == ([words] if words else [])


@pytest.mark.parametrize("name", WHOLE)
def test_a_set_that_is_not_there_says_how_to_get_it(tmp_path, name):
    with pytest.raises(Exception, match=re.escape(f"run `python -m medimg fetch {name}` first")):
        datasets.load(name, root=tmp_path)

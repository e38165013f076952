"""Downloads against a server on loopback: whole, broken off, resumed, wrong."""

import contextlib
import hashlib
import io
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from medimg import datasets, sources
from medimg.errors import DownloadError


class _Server(ThreadingHTTPServer):
    body = b""
    break_after: int | None = None
    ranges: list[str]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self):
        asked = self.headers.get("Range", "")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        body = self.server.body[start:]
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
        server.ranges = []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def _source(server, *, md5=None):
    url = f"http://127.0.0.1:{server.server_port}/file.npz"
    return sources.Source(url, md5 or hashlib.md5(server.body).hexdigest(), "CC BY 4.0", "cite me")


def test_fetch_is_whole_and_is_not_fetched_twice(server, tmp_path):
    server.body = b"x" * 3_000_000
    for _ in range(2):
        file = sources.fetch(_source(server), tmp_path, "file.npz")
    assert file.read_bytes() == server.body
    assert server.ranges == [""]
    assert [p.name for p in tmp_path.iterdir()] == ["file.npz"]


def test_fetch_goes_on_where_it_broke_off(server, tmp_path):
    server.body = bytes(range(256)) * 8_000
    server.break_after = 700_000
    with pytest.raises(DownloadError, match="700,000 bytes are kept; run the same command again"):
        sources.fetch(_source(server), tmp_path, "file.npz")
    server.break_after = None
    file = sources.fetch(_source(server), tmp_path, "file.npz")
    assert file.read_bytes() == server.body
    assert server.ranges == ["", "bytes=700000-"]


def test_fetch_accepts_a_part_that_is_whole_already(server, tmp_path):
    server.body = b"whole"
    (tmp_path / "file.npz.part").write_bytes(b"whole")
    assert sources.fetch(_source(server), tmp_path, "file.npz").read_bytes() == b"whole"


def test_fetch_deletes_a_wrong_file(server, tmp_path):
    server.body = b"not what was published"
    with pytest.raises(DownloadError, match="deleted for safety"):
        sources.fetch(_source(server, md5="0" * 32), tmp_path, "file.npz")
    assert list(tmp_path.iterdir()) == []


def test_fetch_names_a_server_that_is_not_there(tmp_path):
    gone = sources.Source("http://127.0.0.1:9/file", "0" * 32, "", "")
    with pytest.raises(DownloadError, match="nothing came yet"):
        sources.fetch(gone, tmp_path, "file")


def test_pneumoniamnist_becomes_a_study_table(server, tmp_path, rng, monkeypatch):
    server.body, arrays = _npz(rng)
    monkeypatch.setattr("medimg.sources.pneumoniamnist", lambda size: _source(server))
    for _ in range(2):
        folder = sources.fetch_pneumoniamnist(tmp_path, size=28)
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
        ({"labels": np.zeros((4, 14), np.uint8)}, "14 findings per image"),
        ({"images": np.zeros((4, 8, 8, 8), np.uint8)}, "not 2-D pictures"),
        ({"images": np.zeros((4, 8, 8), float)}, "not 2-D pictures"),
        ({"labels": np.full((4, 1), 7, np.uint8)}, "cannot be unpacked"),
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
        sources.unpack_npz(file, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["pneumoniamnist.npz"]


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 junk", b"\x93NUMPY", b"<html>"])
def test_unpack_refuses_what_is_no_archive(tmp_path, data):
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(DownloadError, match=r"x\.npz: it cannot be unpacked"):
        sources.unpack_npz(tmp_path / "x.npz", tmp_path / "out")


def test_a_left_temporary_folder_of_the_same_process_does_no_harm(tmp_path, rng):
    body, _ = _npz(rng)
    (tmp_path / "f.npz").write_bytes(body)
    left = tmp_path / f".out.{os.getpid()}"
    (left / "train" / "normal").mkdir(parents=True)
    folder = sources.unpack_npz(tmp_path / "f.npz", tmp_path / "out")
    assert sorted(p.name for p in folder.iterdir()) == ["test", "train", "val"]
    assert {p.name for p in tmp_path.iterdir()} == {"f.npz", "out", left.name}


@pytest.mark.parametrize(
    ("size", "ending", "md5"),
    [
        (28, "pneumoniamnist.npz?download=1", "28209eda62fecd6e6a2d98b1501bb15f"),
        (64, "pneumoniamnist_64.npz?download=1", "8f4eceb4ccffa70c672198ea285246c6"),
        (128, "pneumoniamnist_128.npz?download=1", "05b46931834c231683c68f40c47b2971"),
        (224, "pneumoniamnist_224.npz?download=1", "d6a3c71de1b945ea11211b03746c1fe1"),
    ],
)
def test_pneumoniamnist_address_is_that_of_its_publisher(size, ending, md5):
    source = sources.pneumoniamnist(size)
    assert source.url == f"https://zenodo.org/records/10519652/files/{ending}"
    assert source.md5 == md5


def test_pneumoniamnist_has_four_sizes():
    with pytest.raises(DownloadError, match="use 28, 64, 128, 224"):
        sources.pneumoniamnist(100)


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
        b"",
    ],
)
def test_odd_answers_are_one_error(tmp_path, answer):
    source = sources.Source(_raw_server(answer), "0" * 32, "", "")
    with pytest.raises(DownloadError, match=r"the download broke off .* run the same command"):
        sources.fetch(source, tmp_path, "file")
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("length", [b"abc", b"-1", b"1e3"])
def test_an_odd_length_is_no_length(tmp_path, length):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\nbody"
    source = sources.Source(_raw_server(answer), hashlib.md5(b"body").hexdigest(), "", "")
    assert sources.fetch(source, tmp_path, "file").read_bytes() == b"body"


@pytest.mark.parametrize("limit", ["_MAX_BYTES", "_MAX_SECONDS"])
def test_a_body_without_end_is_stopped(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(sources, limit, {"_MAX_BYTES": 1 << 20, "_MAX_SECONDS": 0.3}[limit])
    url = _raw_server(b"HTTP/1.1 200 OK\r\n\r\n", endless=True)
    with pytest.raises(DownloadError, match=r"stopped after .* more than any file of the course"):
        sources.fetch(sources.Source(url, "0" * 32, "", ""), tmp_path, "file")
    assert not (tmp_path / "file").exists()
    left = tmp_path / "file.part"
    assert not left.exists() or left.stat().st_size < 3 << 20


def test_another_range_than_asked_begins_anew(tmp_path):
    (tmp_path / "file.part").write_bytes(b"old")
    answer = (b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-3/4\r\nContent-Length: 4\r\n\r\n"
              b"body")  # fmt: skip
    source = sources.Source(_raw_server(answer), hashlib.md5(b"body").hexdigest(), "", "")
    assert sources.fetch(source, tmp_path, "file").read_bytes() == b"body"

"""Downloads against a server on loopback: whole, broken off, resumed, wrong."""

import hashlib
import io
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
    monkeypatch.setattr("medimg.sources.pneumonia.pneumoniamnist", lambda size: _source(server))
    for _ in range(2):
        folder = sources.fetch_pneumoniamnist(tmp_path, size=28)
    assert '"licence": "CC BY 4.0"' in (folder / "SOURCE.json").read_text()
    studies = datasets.load("pneumoniamnist", root=tmp_path)
    assert studies["split"].value_counts().to_dict() == {"train": 6, "val": 4, "test": 2}
    row = studies[studies["image_id"] == "val/pneumonia/00003"]
    decoded = datasets.decode(row, size=28)
    np.testing.assert_array_equal(decoded.images[0], arrays["val_images"][3])


def test_unpack_refuses_another_file(tmp_path):
    file = tmp_path / "file.npz"
    np.savez(file, other=np.zeros(3))
    with pytest.raises(DownloadError, match="no MedMNIST archive"):
        sources.unpack_npz(file, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["file.npz"]


@pytest.mark.parametrize(("size", "ending"), [(28, "pneumoniamnist.npz"), (224, "_224.npz")])
def test_pneumoniamnist_address_is_that_of_medmnist(size, ending):
    source = sources.pneumoniamnist(size)
    assert ending in source.url
    assert len(source.md5) == 32


def test_pneumoniamnist_has_four_sizes():
    with pytest.raises(DownloadError, match="use 28, 64, 128, 224"):
        sources.pneumoniamnist(100)

"""Files appear whole or not at all."""

import csv
import os
import stat
from pathlib import Path

import pytest

from medimg import storage
from medimg.storage import atomic_write, sha256, write_together


def test_a_new_file_has_ordinary_rights_and_its_folder_is_made(tmp_path):
    target = tmp_path / "deep" / "er" / "a.bin"
    with atomic_write(target) as file:
        file.write(b"abc")
    assert target.read_bytes() == b"abc"
    if os.name == "posix":
        mask = os.umask(0)
        os.umask(mask)
        assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("fault", [ValueError("no"), KeyboardInterrupt(), OSError(28, "full")])
def test_the_old_file_stays_when_writing_fails(tmp_path, fault):
    target = tmp_path / "a.txt"
    target.write_text("old", encoding="utf-8")

    def half_written():
        with atomic_write(target, "w") as file:
            file.write("half of the new")
            raise fault

    with pytest.raises(type(fault)):
        half_written()
    assert target.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old", encoding="utf-8")
    with atomic_write(target, "w") as file:
        file.write("nêw")
        assert target.read_text(encoding="utf-8") == "old"
    assert target.read_text(encoding="utf-8") == "nêw"


def test_text_gets_the_same_bytes_on_every_system(tmp_path):
    with atomic_write(tmp_path / "t.csv", "w") as file:
        csv.writer(file).writerow(["a", "é"])
        file.write("b\n")
    assert (tmp_path / "t.csv").read_bytes() == "a,é\r\nb\n".encode()


@pytest.mark.parametrize(("system", "tries"), [("posix", 1), ("nt", 3)])
def test_windows_waits_until_the_old_file_is_let_go(tmp_path, monkeypatch, system, tries):
    real, asked = os.replace, []

    def held(source, target):
        asked.append(target)
        if len(asked) < 3:
            raise PermissionError(13, "in use")
        real(source, target)

    (tmp_path / "new").write_bytes(b"new")
    monkeypatch.setattr(storage.os, "replace", held)
    monkeypatch.setattr(storage.time, "sleep", lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "name", system)
        try:
            storage._replace(tmp_path / "new", tmp_path / "old")
        except PermissionError:
            assert system == "posix"
    assert len(asked) == tries
    monkeypatch.setattr(storage.os, "replace", real)


def test_windows_gives_up_on_a_file_that_is_never_let_go(tmp_path, monkeypatch):
    def held(*_):
        raise PermissionError(13, "in use")

    new, old = Path("new"), Path("old")  # of this system
    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "replace", held)
        patch.setattr(storage.os, "name", "nt")
        with pytest.raises(PermissionError):
            storage._replace(new, old, patience=0.0)


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")


def test_files_that_belong_together_are_written_together(tmp_path):
    one, two = tmp_path / "new" / "1", tmp_path / "2"
    write_together({one: b"a", two: b"b"})
    assert (one.read_bytes(), two.read_bytes()) == (b"a", b"b")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_together({one: b"c", two: b"d", tmp_path / "folder": b"e"})
    assert (one.read_bytes(), two.read_bytes()) == (b"a", b"b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "folder", "new"]

"""The private folder beside the output: the secret, what is done, and which file became which.

It never goes to the receivers: whoever has it can undo the pseudonyms.
"""

from __future__ import annotations

import csv
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from medimg.deid.keys import Key
from medimg.deid.options import DeidOptions
from medimg.errors import DeidentifyError
from medimg.storage import atomic_write


@dataclass
class Entry:
    """What became of one input file; holds no value of it."""

    status: str  # "written" or "refused"
    output: str = ""
    sha256: str = ""
    reason: str = ""
    pixels: list[str] = field(default_factory=list)
    look_at: list[str] = field(default_factory=list)
    scrubbed: list[str] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)


class Journal:
    """A log with one line a finished file, so that a stopped run goes on where it was.

    Parameters
    ----------
    out_dir : Path
        The output folder; the journal lies in ``<out_dir>.private``.
    options : DeidOptions
        Entries made with other options are not used.

    Raises
    ------
    DeidentifyError
        When the folder was made with another secret, or ``out_dir`` holds other people's files.
    """

    def __init__(self, out_dir: Path, options: DeidOptions) -> None:
        self.folder = out_dir.with_name(out_dir.name + ".private")
        self._path = self.folder / "journal.jsonl"
        self._options = options.fingerprint
        if not self._path.exists() and out_dir.exists() and any(out_dir.iterdir()):
            raise DeidentifyError(
                f'The output folder "{out_dir}" holds files from elsewhere, which cannot be '
                "vouched for; give a new or empty folder."
            )
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.key = Key(self._secret(options.secret))
        self.entries: dict[str, Entry] = {}
        self.outputs: set[str] = set()
        self._load()

    def _secret(self, given: str | None) -> str:
        path = self.folder / "secret.key"
        if given is None:
            if not path.exists():
                with atomic_write(path, "w") as file:
                    file.write(secrets.token_hex(32))
                os.chmod(path, 0o600)
            given = path.read_text()
        elif path.exists():
            path.unlink()  # the caller keeps the secret; a second copy would only be a risk
        mark, check = self.folder / "secret.check", Key(given).letters("check", "", 20)
        if mark.exists() and mark.read_text() != check:
            raise DeidentifyError(
                f'The folder "{self.folder}" was made with another secret, so that pseudonyms '
                "would not match; give that secret, or a new output folder."
            )
        with atomic_write(mark, "w") as file:
            file.write(check)
        return given

    def _load(self) -> None:
        """Read the lines; a last line cut by a crash is dropped."""
        if not self._path.exists():
            self._path.touch(mode=0o600)
        for line in self._path.read_text().splitlines():
            try:
                record = json.loads(line)
                entry = Entry(**record["entry"])
            except (ValueError, KeyError, TypeError):
                continue
            self.outputs.add(entry.output)
            if record["options"] == self._options:
                self.entries[record["key"]] = entry
        self.outputs.discard("")

    def file_key(self, relative: str, digest: str) -> str:
        """Return the name under which an input file, at its place, is known."""
        return self.key.letters("file", f"{relative}\0{digest}", 24)

    def add(self, file_key: str, entry: Entry) -> None:
        """Append a line and see it on the disk."""
        self.entries[file_key] = entry
        self.outputs.add(entry.output)
        line = json.dumps({"key": file_key, "options": self._options, "entry": asdict(entry)})
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(("" if self._ends_line() else "\n") + line + "\n")
            file.flush()
            os.fsync(file.fileno())

    def forget(self, file_key: str) -> None:
        """Let a file be done again in the next run."""
        self.add(file_key, Entry("leaking"))

    def _ends_line(self) -> bool:
        with open(self._path, "rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def write_crosswalk(self, rows: list[tuple[int, str, str, str, str]]) -> None:
        """Write which input file has which number and output: the only place that says so."""
        path = self.folder / "files.csv"
        with atomic_write(path, "w") as file:
            writer = csv.writer(file)
            writer.writerow(("number", "input", "status", "reason", "output"))
            writer.writerows(rows)
        os.chmod(path, 0o600)

"""Tables and names from data: safe for spreadsheets and terminals, and read back as they were."""

import pandas as pd
import pytest

from medimg.tables import read_table, table_bytes, visible, write_table

TEXTS = ["=cmd", "+1+1", "-x", "@SUM", "＝1", "\tx", "\rx", "a\rb", "a\nb", "'=x", "''=x", "'hello",
         "x\udcff", "-1.0", "+5", "1e5", 'q"uo,te', "", " pad ", "NA", "00012"]  # fmt: skip


def test_a_table_is_read_back_as_it_was_written(tmp_path):
    """Formulas are guarded for spreadsheets only; odd bytes and line breaks of names survive."""
    table = pd.DataFrame({"path": TEXTS, "=head": TEXTS[::-1]})
    write_table(table, tmp_path / "t.csv")
    (tmp_path / "t.csv").read_bytes().decode("utf-8")  # valid in every program
    read = read_table(tmp_path / "t.csv")
    assert list(read) == ["path", "=head"]
    assert read["path"].tolist() == TEXTS
    assert read["=head"].tolist() == TEXTS[::-1]


@pytest.mark.parametrize(
    ("cell", "written"),
    [("=1+1", "'=1+1"), ("+1+1", "'+1+1"), ("-x", "'-x"), ("@x", "'@x"), ("-1.0", "-1.0"),
     ("+5", "+5"), ("'=x", "''=x"), ("'x", "'x"), (-0.5, "-0.5"), (None, ""), (True, "True")],
)  # fmt: skip
def test_no_cell_is_a_formula(cell, written):
    rows = table_bytes(pd.DataFrame({"a": [cell, cell], "b": [1, 2]})).decode().splitlines()
    assert rows == ["a,b", f"{written},1", f"{written},2"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a.png", "a.png"), ("é ü 中", "é ü 中"), ("a\nb\r", r"a\nb\r"), ("\x1b[31m", r"\x1b[31m"),
     ("\udcff", r"\udcff"), ("\x9b", r"\x9b"), ("\u202e0.8", r"\u202e0.8"), ("שלום 8", "שלום 8"),
     ("\u2067x\u2069", r"\u2067x\u2069"), ("\u2028", r"\u2028"), ("👩\u200d⚕", "👩\u200d⚕")],
)  # fmt: skip
def test_names_are_shown_without_controls(text, shown):
    assert visible(text) == shown
    visible(text).encode("utf-8")

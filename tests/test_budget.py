"""The library stays thin: its lines of code and its modules are counted, and may only go down."""

import ast
import io
import tokenize
from pathlib import Path

LIBRARY = Path(__file__).parents[1] / "medimg"
CODE_LINES, MODULES = 7_800, 63  # lower these whenever the library shrinks
LAYOUT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip


def docstring_lines(tree):
    """Return the numbers of the lines that hold docstrings and other bare texts."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):
            found |= set(range(node.lineno, node.end_lineno + 1))
    return found


def code_lines(text):
    """Count lines that hold a token: no docstring, comment or blank line."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in LAYOUT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstring_lines(ast.parse(text)))


def test_lines_of_code_are_counted_as_meant():
    assert code_lines('"""Doc."""\n\n# comment\nx = 1  # why\ny = [\n    2,\n]\n') == 4


def test_the_library_is_within_its_budget():
    paths = sorted(LIBRARY.rglob("*.py"))
    lines = sum(code_lines(path.read_text(encoding="utf-8")) for path in paths)
    modules = sum(path.name != "__init__.py" for path in paths)
    assert lines <= CODE_LINES
    assert modules <= MODULES

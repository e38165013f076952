"""Every public function says what it takes and what it gives back, in numpydoc's form."""

import importlib
import inspect
import re

import pytest

PACKAGES = ("augment", "datasets", "deid", "explain", "images", "metrics", "models", "plots",
            "reports", "runtime", "sources", "storage", "training")  # fmt: skip


def public_functions():
    for package in PACKAGES:
        module = importlib.import_module(f"medimg.{package}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            own = function.__module__ == module.__name__ and not name.startswith("_")
            if name in getattr(module, "__all__", [name] if own else []):
                yield pytest.param(function, id=f"{package}.{name}")


def sections(function):
    """Text under each underlined heading of a docstring."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", inspect.getdoc(function) or "", flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(text):
    """Names before the colon of each line that is not indented: ``a, b : float``."""
    found = []
    for line in text.splitlines():
        if line and not line.startswith(" "):
            found += [name.strip().lstrip("*") for name in line.partition(" : ")[0].split(",")]
    return found


@pytest.mark.parametrize("function", [*public_functions()])
def test_each_parameter_and_what_is_returned_are_documented(function):
    signature, told = inspect.signature(function), sections(function)
    assert documented(told.get("Parameters", "")) == list(signature.parameters)
    returned = str(signature.return_annotation).removeprefix("collections.abc.")
    if returned not in ("None", "Iterator[None]"):
        assert told.keys() & {"Returns", "Yields"}


def test_the_check_finds_what_is_missing():
    def incomplete(a, b, *, c=1):
        """Add.

        Parameters
        ----------
        a, b : float
            Numbers.
        """

    assert documented(sections(incomplete)["Parameters"]) == ["a", "b"]
    assert "Returns" not in sections(incomplete)

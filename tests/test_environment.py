"""environment.yml and pyproject.toml say the same, so that conda and pip users get one thing."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch"}


def _requirements(lines):
    """Return {name: bound} of requirement lines such as 'numpy>=1.26'."""
    split = (re.match(r"([A-Za-z0-9_.-]+?)\s*([<>=!~].*)?$", line) for line in lines)
    return {match[1].lower(): match[2] or "" for match in split}


@pytest.fixture(scope="module")
def environment():
    return yaml.safe_load((ROOT / "environment.yml").read_text())


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _pip(environment):
    return next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))


def test_name_and_kernel(environment):
    assert environment["name"] == "medical-imaging"
    conda = [d for d in environment["dependencies"] if isinstance(d, str)]
    assert {"pip", "ipykernel", "notebook"} <= set(conda)


def test_package_is_installed_editable(environment):
    assert "--editable ." in _pip(environment)


def test_every_dependency_with_its_bound(environment, project):
    conda = _requirements(d for d in environment["dependencies"] if isinstance(d, str))
    pip = _requirements(d for d in _pip(environment) if not d.startswith("-"))
    assert not set(conda) & set(pip)
    for name, bound in _requirements(project["dependencies"]).items():
        assert {**conda, **pip}.get(CONDA_NAMES.get(name, name)) == bound, name


def test_nothing_that_the_project_does_not_name(environment, project):
    named = set(_requirements(project["dependencies"]))
    named |= set(_requirements(project["optional-dependencies"]["test"]))
    pip = _requirements(d for d in _pip(environment) if not d.startswith("-"))
    assert set(pip) <= named


def test_constraints_cover_the_dependencies_and_name_no_address(project):
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    pinned = set(re.findall(r"^([a-z0-9_.-]+)==", text, flags=re.M))
    wanted = {*_requirements(project["dependencies"])}
    wanted |= {*_requirements(project["optional-dependencies"]["test"])}
    assert {w.lower().replace("_", "-") for w in wanted} <= pinned

"""What holds on every machine: one list of dependencies, valid CI, text files that say UTF-8."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch"}
WORKFLOW = ROOT / ".github" / "workflows" / "tests.yml"
CODE = ["medimg", "notebooks", "tests", "benchmarks", "data", "conftest.py"]


def _requirements(lines):
    """Return {name: bound} of requirement lines such as 'numpy>=1.26'."""
    split = (re.match(r"([A-Za-z0-9_.-]+?)\s*([<>=!~].*)?$", line) for line in lines)
    return {match[1].lower(): match[2] or "" for match in split}


@pytest.fixture(scope="module")
def environment():
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


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
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    pinned = set(re.findall(r"^([a-z0-9_.-]+)==", text, flags=re.M))
    wanted = {*_requirements(project["dependencies"])}
    for extra in ("test", "docs"):
        wanted |= {*_requirements(project["optional-dependencies"][extra])}
    assert {w.lower().replace("_", "-") for w in wanted} <= pinned


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("name", ["tests.yml", "pages.yml"])
def test_the_workflows_are_valid(tmp_path, name, broken):
    text = WORKFLOW.with_name(name).read_text(encoding="utf-8")
    file = tmp_path / name
    file.write_text(text.replace("runs-on:", "run-on:") if broken else text, encoding="utf-8")
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    done = subprocess.run(
        [*check, "vendor.github-workflows", str(file)],
        capture_output=True, encoding="utf-8", check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode != 0) is broken, done.stdout + done.stderr


def test_the_workflow_covers_what_the_project_promises(project):
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    job = workflow["jobs"]["tests"]
    assert set(job["strategy"]["matrix"]["os"]) == {
        "ubuntu-latest", "macos-latest", "windows-latest",
    }  # fmt: skip
    versions = job["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13", "3.14"]
    assert project["requires-python"] == f">={versions[0]}"
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow[True]["schedule"]  # YAML 1.1 reads the key "on" as true
    ran = "\n".join(step.get("run", "") for step in job["steps"])
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^uv run ((?:jupyter|pytest).*)$", readme, re.MULTILINE)
    assert len(commands) == 2
    assert [command for command in commands if command not in ran] == []


def test_continuous_integration_runs_the_contributor_s_checks():
    said = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    said = said.replace('"$bin/', "").replace('"', "")
    steps = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["checks"]["steps"]
    ran = [step["run"].removeprefix("uv run --no-sync ") for step in steps if "run" in step]
    for check in ("ruff check", "ruff format --check", "mypy", "lint-imports"):
        assert check in ran
        assert f"\n{check}\n" in said
    assert ran[-1] == "python notebooks/build.py --check"
    assert f"\n{ran[-1]}\n" in said


NO_TEXT = ("Image", "webbrowser", "tarfile", "archive")  # what these open is bytes, or a page


def _without_encoding(source):
    """Yield line and text of each call that opens a text file in the machine's own encoding."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        whose = getattr(getattr(call.func, "value", None), "id", "")
        if name in ("read_text", "write_text"):
            wrong = len(call.args) < (1 if name == "read_text" else 2)
        elif name in ("run", "Popen", "check_output"):
            wrong = "text" in given or "universal_newlines" in given
        elif name in ("open", "fdopen") and whose not in NO_TEXT:
            place = 0 if isinstance(call.func, ast.Attribute) and name == "open" else 1
            mode = given.get("mode", call.args[place] if len(call.args) > place else None)
            wrong = mode is None or (isinstance(mode, ast.Constant) and "b" not in str(mode.value))
        else:
            wrong = False
        if wrong and "encoding" not in given:
            yield call.lineno, ast.unparse(call)


def test_every_text_file_is_opened_as_utf_8():
    files = [file for part in CODE for file in [ROOT / part, *(ROOT / part).rglob("*.py")]]
    found = [
        f"{file.relative_to(ROOT).as_posix()}:{line}: {call}"
        for file in files
        if file.suffix == ".py"
        for line, call in _without_encoding(file.read_text(encoding="utf-8"))
    ]
    assert len(files) > 100
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        ("path.read_text()", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.write_text('a')", True),
        ("open(path)", True),
        ("open(path, 'w')", True),
        ("open(path, 'rb')", False),
        ("path.open()", True),
        ("path.open('w')", True),
        ("path.open('xb')", False),
        ("os.fdopen(handle, 'w')", True),
        ("os.fdopen(handle, 'wb')", False),
        ("Image.open(path)", False),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command, encoding='utf-8')", False),
        ("subprocess.run(command)", False),
    ],
)
def test_calls_in_the_machine_s_own_encoding_are_found(call, wrong):
    assert [found for _, found in _without_encoding(call)] == ([call] if wrong else [])

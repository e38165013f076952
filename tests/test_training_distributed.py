"""Several processes: rows dealt out and gathered once each, gradients as of the whole batch."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import distributed

from medimg import runtime
from medimg.errors import TrainingError
from medimg.runtime import is_main, process_group, world
from medimg.training.predict import gather_rows


def test_alone_everything_is_itself():
    assert world() == (0, 1)
    assert is_main()
    rows = torch.arange(6.0).view(3, 2)
    assert torch.equal(gather_rows(rows), rows)
    with process_group():
        assert not distributed.is_initialized()


@pytest.mark.parametrize("value", ["abc", "-1", "", "2.0"])
def test_a_world_size_that_is_no_number_gives_one_error(monkeypatch, value):
    monkeypatch.setenv("WORLD_SIZE", value)
    with (
        pytest.raises(TrainingError, match=r"WORLD_SIZE.* is not what torchrun sets"),
        process_group(),
    ):
        pass


@pytest.fixture
def one_process_group(monkeypatch):
    """A real gloo group of one process, told that it is the first of two where it matters."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name, value in {"RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    joined = []

    def init(backend):
        joined.append(backend)
        store = distributed.HashStore()
        real(backend, store=store, rank=0, world_size=1)

    real = distributed.init_process_group
    monkeypatch.setattr(distributed, "init_process_group", init)
    with process_group():
        yield joined
    assert not distributed.is_initialized()


def test_group_is_joined_and_left(one_process_group):
    assert one_process_group == ["gloo"]
    assert world() == (0, 1)
    with process_group():  # already joined: nothing more happens
        assert len(one_process_group) == 1


@pytest.mark.parametrize("asked", [None, "1"])
def test_on_windows_libuv_is_left_out_unless_it_is_asked_for(monkeypatch, asked):
    """torch is built without libuv there, and some versions ask for it all the same."""
    seen = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name, value in {"RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("USE_LIBUV", "undone after the test")
    if asked is None:
        monkeypatch.delenv("USE_LIBUV")
    else:
        monkeypatch.setenv("USE_LIBUV", asked)
    monkeypatch.setattr(runtime.sys, "platform", "win32")
    monkeypatch.setattr(
        distributed, "init_process_group", lambda _: seen.append(os.environ["USE_LIBUV"])
    )
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: None)
    with process_group():
        pass
    assert seen == [asked or "0"]


def test_rows_are_gathered_with_a_second_process_played(one_process_group, monkeypatch):
    monkeypatch.setitem(gather_rows.__globals__, "world", lambda: (0, 2))

    def gather(parts, mine):
        parts[:] = [mine, torch.tensor([[3.0], [4.0]])]  # the last two rows of five

    monkeypatch.setattr(distributed, "all_gather_object", gather)
    mine = torch.tensor([[0.0], [1.0], [2.0]])
    assert gather_rows(mine).flatten().tolist() == [0, 1, 2, 3, 4]


def test_two_processes_train_the_network_of_one(tmp_path):
    """Without batch statistics and dropout, two shares of a batch give the whole batch's step."""
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            from dataclasses import replace
            from pathlib import Path
            import torch
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            from test_training_fit import QUICK, fit, make_films, make_net
            from medimg.runtime import is_main, process_group, world
            out = Path(sys.argv[1])
            with process_group():
                net = make_net()
                net.head.dropout.p = 0.0
                settings = replace(QUICK, strategy="all", epochs=2, freeze_norms=True,
                                   class_weights="balanced")
                fit(net, make_films(37), make_films(23, seed=1), settings=settings,
                             out_dir=out)
                learns = make_net()  # its batch norms see other images in each process
                settings = replace(settings, freeze_norms=False)
                fit(learns, make_films(37), make_films(23, seed=1), settings=settings)
                torch.save(dict(learns.named_buffers()), out / f"rank{{world()[0]}}.pt")
                if is_main():
                    torch.save(net.state_dict(), out / "weights.pt")
            """
        ),
        encoding="utf-8",
    )
    found = []
    for processes in ("1", "2"):
        out = tmp_path / processes
        out.mkdir()
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        subprocess.run(
            [*launch, "--nproc-per-node", processes, str(script), str(out)],
            # In float32: half precision rounds half a batch otherwise than the whole.
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "MEDIMG_PRECISION": "float32"},
            check=True,
            capture_output=True,
        )
        weights = torch.load(out / "weights.pt", weights_only=True)
        found.append(weights)
    first, second = (torch.load(tmp_path / "2" / f"rank{rank}.pt") for rank in (0, 1))
    assert first.keys() == second.keys() != set()
    for key, tensor in first.items():  # both judge by the same running statistics
        torch.testing.assert_close(second[key], tensor, atol=0, rtol=0)
    for key, tensor in found[0].items():
        torch.testing.assert_close(found[1][key], tensor, atol=1e-5, rtol=1e-4)

"""Precision by support, seeds that do not leak, job variables."""

import logging
import os
import subprocess
import sys

import pytest
import torch

from medimg import runtime
from medimg.errors import PrecisionError

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes this machine claim bfloat16, and refuse some precisions."""
    monkeypatch.delenv("MEDIMG_PRECISION", raising=False)
    runtime._pick.cache_clear()

    def become(*, claims, refuses=()):
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            monkeypatch.setattr(torch.cpu, name, lambda: claims, raising=False)
        refused = [runtime._DTYPES[name] for name in refuses]
        monkeypatch.setattr(
            runtime, "_failure", lambda _, dtype: "no such unit" if dtype in refused else ""
        )

    yield become
    runtime._pick.cache_clear()


def test_precision_on_a_cpu_without_bfloat16_is_float32(machine):
    machine(claims=False)
    chosen = runtime.pick_precision(CPU)
    assert (chosen.name, chosen.dtype) == ("float32", None)


def test_precision_on_a_cpu_with_bfloat16_is_said_in_the_log_once(machine, caplog):
    machine(claims=True)
    with caplog.at_level(logging.INFO):
        chosen = [runtime.pick_precision(CPU) for _ in range(3)]
    assert {one.dtype for one in chosen} == {torch.bfloat16}
    assert caplog.messages == ["computing on cpu in bfloat16"]


def test_a_cpu_that_claims_bfloat16_and_refuses_it_computes_in_float32(machine, caplog):
    machine(claims=True, refuses=["bfloat16"])
    with caplog.at_level(logging.INFO):
        chosen = [runtime.pick_precision(CPU) for _ in range(2)]
    assert chosen == [runtime.Precision()] * 2
    assert caplog.messages == [
        "computing on cpu in float32 (a convolution in bfloat16 failed: no such unit)"
    ]


@pytest.mark.parametrize(
    ("asked", "dtype"),
    [
        ("float32", None),
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float16),
        (" BFloat16 ", torch.bfloat16),
        ("auto", torch.bfloat16),
        ("", torch.bfloat16),
    ],
)
def test_precision_follows_the_environment(machine, monkeypatch, asked, dtype):
    machine(claims=True)
    monkeypatch.setenv("MEDIMG_PRECISION", asked)
    chosen = runtime.pick_precision(CPU)
    assert chosen.dtype is dtype
    assert chosen.name == ("float32" if dtype is None else str(dtype).removeprefix("torch."))


def test_a_choice_of_the_environment_is_said_when_it_changes(machine, monkeypatch, caplog):
    machine(claims=False)
    with caplog.at_level(logging.INFO):
        for asked in ("float32", "bfloat16", "float32", "auto"):
            monkeypatch.setenv("MEDIMG_PRECISION", asked)
            runtime.pick_precision(CPU)
    said = ["float32", "bfloat16", "float32"]  # the last for "auto"
    assert [message.split()[4] for message in caplog.messages] == said


@pytest.mark.parametrize("asked", ["fp16", "half", "32", "float64", "None"])
def test_an_unknown_precision_is_one_clear_error(machine, monkeypatch, asked):
    machine(claims=True)
    monkeypatch.setenv("MEDIMG_PRECISION", asked)
    with pytest.raises(
        PrecisionError, match=f"'{asked.lower()}'; set auto or float32, bfloat16, fl"
    ):
        runtime.pick_precision(CPU)


@pytest.mark.parametrize("asked", ["bfloat16", "float16"])
def test_a_precision_that_the_machine_refuses_is_one_clear_error(machine, monkeypatch, asked):
    machine(claims=True, refuses=[asked])
    monkeypatch.setenv("MEDIMG_PRECISION", asked)
    with pytest.raises(PrecisionError) as raised:
        runtime.pick_precision(CPU)
    assert str(raised.value) == (
        f"MEDIMG_PRECISION is {asked}, but cpu cannot compute a convolution in it "
        "(no such unit): set it to float32 or auto"
    )


def test_precision_on_cuda_follows_the_generation(machine, monkeypatch):
    machine(claims=True)
    device = torch.device("cuda", 0)
    for capability, name in (((9, 0), "bfloat16"), ((7, 5), "float16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        runtime._pick.cache_clear()
        assert runtime.pick_precision(device).name == name
    machine(claims=False, refuses=["float16"])
    runtime._pick.cache_clear()
    assert runtime.pick_precision(device).name == "float32"


def test_the_trial_convolution_works_in_any_context_and_draws_no_random_number():
    before = torch.get_rng_state()
    with torch.inference_mode():
        found = runtime._failure(CPU, torch.bfloat16)
    assert torch.equal(torch.get_rng_state(), before)
    assert runtime._failure(CPU, torch.bfloat16) == found
    assert "inference" not in found
    assert "grad" not in found
    assert runtime._failure(CPU, None) == ""


@pytest.mark.parametrize("failing", ["conv2d", "mkldnn_convolution"])
def test_the_trial_reports_the_first_line_of_what_torch_says(monkeypatch, failing):
    def refuse(*_, **__):
        raise RuntimeError("bf16 path needs the cpu support\nException raised from here")

    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch, "conv2d", lambda images, weight, **_: images * weight.sum())
    monkeypatch.setattr(torch, "mkldnn_convolution", lambda *_: None)
    assert runtime._failure(CPU, torch.bfloat16) == ""
    monkeypatch.setattr(torch, failing, refuse)
    assert runtime._failure(CPU, torch.bfloat16) == "bf16 path needs the cpu support"


SHOW = """
import logging, sys, torch
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
from medimg.errors import PrecisionError
from medimg.runtime import pick_precision
try:
    print("picked", pick_precision(torch.device("cpu")).name)
except PrecisionError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("asked", ["auto", "bfloat16", "float32"])
def test_precision_where_onednn_is_held_to_avx2(asked):
    has_avx2 = getattr(torch.cpu, "_is_avx2_supported", lambda: False)  # a private name
    if not (torch.backends.mkldnn.is_available() and has_avx2()):
        pytest.skip("ONEDNN_MAX_CPU_ISA=AVX2 changes nothing on this processor or build of torch")
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "MEDIMG_PRECISION": asked}
    said = subprocess.run(
        [sys.executable, "-c", SHOW],
        env=environment, capture_output=True, encoding="utf-8", timeout=120, check=True,
    ).stdout  # fmt: skip
    if asked == "bfloat16":
        assert said.startswith("refused: MEDIMG_PRECISION is bfloat16, but cpu cannot compute")
        assert said.count("\n") == 1
    else:
        assert said.startswith("computing on cpu in float32")
        assert said.endswith("picked float32\n")
        assert said.count("\n") == 2


def test_device_is_the_local_rank_s_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert runtime.pick_device() == torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runtime.pick_device() == torch.device("cpu")


def test_seeded_block_repeats_and_leaves_the_global_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with runtime.seeded(0, 1):
        first = torch.rand(2)
    with runtime.seeded(0, 1):
        torch.testing.assert_close(torch.rand(2), first, rtol=0, atol=0)
    with runtime.seeded(1, 0):
        assert not torch.equal(torch.rand(2), first)
    assert torch.equal(torch.rand(3), expected)


def test_mixed_seeds_of_nearby_numbers_differ():
    seeds = {runtime.mix(a, b) for a in range(30) for b in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_versions_name_torch():
    assert runtime.versions()["torch"] == torch.__version__.split("+")[0]


def test_versions_pass_over_a_missing_package(monkeypatch):
    def missing(name):
        raise runtime.PackageNotFoundError(name)

    monkeypatch.setattr(runtime, "version", missing)
    assert list(runtime.versions()) == ["python"]

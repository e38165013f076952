"""Precision by support, seeds that do not leak, job variables."""

import torch

from medimg import runtime


def test_precision_on_a_cpu_without_bfloat16_is_float32(monkeypatch):
    monkeypatch.setattr(runtime, "_cpu_multiplies_bfloat16", lambda: False)
    chosen = runtime.pick_precision(torch.device("cpu"))
    assert (chosen.name, chosen.dtype, chosen.needs_scaler) == ("float32", None, False)
    assert chosen.memory_format is torch.channels_last


def test_precision_on_a_cpu_with_bfloat16_is_said_in_the_log(monkeypatch, caplog):
    monkeypatch.setattr(runtime, "_cpu_multiplies_bfloat16", lambda: True)
    with caplog.at_level("INFO"):
        chosen = runtime.pick_precision(torch.device("cpu"))
    assert chosen.dtype is torch.bfloat16
    assert "bfloat16" in caplog.text


def test_precision_on_cuda_follows_the_generation(monkeypatch):
    device = torch.device("cuda", 0)
    for capability, name in (((9, 0), "bfloat16"), ((7, 5), "float16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert runtime.pick_precision(device).name == name
    assert runtime.Precision("float16", torch.float16).needs_scaler


def test_contiguous_layout_can_be_asked_for():
    assert runtime.Precision(channels_last=False).memory_format is torch.contiguous_format


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


def test_job_paths_prefer_the_training_channel():
    found = runtime.job_paths(
        {
            "SM_MODEL_DIR": "/opt/ml/model",
            "SM_CHANNEL_AUX": "/aux",
            "SM_CHANNEL_TRAIN": "/train",
            "SM_NUM_GPUS": "4",
        }
    )
    assert (found.data.as_posix(), found.model.as_posix(), found.gpus) == (
        "/train",
        "/opt/ml/model",
        4,
    )
    assert runtime.job_paths({"SM_MODEL_DIR": "m", "SM_CHANNEL_AUX": "/aux"}).data.name == "aux"
    assert runtime.job_paths({"SM_MODEL_DIR": "m"}).data.name == "training"


def test_job_paths_outside_a_job(monkeypatch):
    monkeypatch.delenv("SM_MODEL_DIR", raising=False)
    assert runtime.job_paths() is None

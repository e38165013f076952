"""Training in the cloud: bill, request and result offline; the whole way against a local server."""

import io
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import types
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medimg.__main__ import main
from medimg.commands import launch as cloud
from medimg.errors import MedimgError

ROLE = "arn:aws:iam::123456789012:role/medimg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 small images of 12 patients; the positive ones have a bright square."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(24):
        label = ("normal", "pneumonia")[number % 2]
        image = rng.integers(0, 90, (40, 36), dtype=np.uint8)
        image[10:25, 12:26] += 120 * (number % 2)
        path = root / label / f"p{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    return root


@pytest.fixture(autouse=True)
def no_account(monkeypatch):
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


def dry_run(folder, capsys, *options):
    status = main(["launch", "--data", str(folder), "--dry-run", *options])
    printed = capsys.readouterr()
    if status:
        return printed.err
    return json.loads(printed.out[printed.out.index("\n{") : printed.out.rindex("}") + 1])


def client_model():
    """Return Amazon's own description of the request, which its client brings."""
    boto3 = pytest.importorskip("boto3")
    model = boto3.client("sagemaker", region_name="us-east-1").meta.service_model  # calls nobody
    return model.operation_model("CreateTrainingJob").input_shape


# The bill ---------------------------------------------------------------------------------------


def test_the_bill_by_hand():
    """1,000 images of 2 megapixels on 4 vCPUs: each number from the tables, computed on paper."""
    found = cloud.bill(1000, instance="ml.m5.xlarge", epochs=3, megapixels=2)
    assert found.hours["decode"] * 3600 == pytest.approx(2000 / (31 * 4))
    # 700 train (recipe of many: sides 0.7, 0.85 and 1, four views); 150 validate, 150 are tested.
    forward = 700 + 150 * 3 + 300 * 4
    backward = 700 * 2 * (0.49 + 0.7225 + 1) / 3
    assert found.hours["train"] * 3600 == pytest.approx(forward / 160 + backward / 24)
    assert found.usd_per_hour == pytest.approx(0.23 + found.disk_gb * 0.14 / 730)
    assert found.usd == pytest.approx(sum(found.hours.values()) * found.usd_per_hour)


def test_twice_the_machines_halve_the_training_and_double_the_price_per_hour():
    one, two = (cloud.bill(50_000, count=count) for count in (1, 2))
    assert two.hours["train"] == pytest.approx(one.hours["train"] / 2)
    assert two.usd_per_hour == pytest.approx(2 * one.usd_per_hour)
    assert two.hours["decode"] == one.hours["decode"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"instance": "ml.z9.large"}, "choose one of ml.c5.2xlarge"),
        ({"region": "eu-central-1"}, "give --usd-per-hour"),
        ({"instance": "ml.g4dn.xlarge", "megapixels": 100}, "too small: give .* GB disk"),
        ({"size": 2048}, "too small: give .* GB memory"),
    ],
)
def test_a_bill_that_cannot_be_made(given, said):
    with pytest.raises(MedimgError, match=said):
        cloud.bill(10_000, **given)


def test_each_row_of_the_tables_has_its_day_and_source():
    for name in ("instances", "speeds", "regions"):
        for row in cloud._table(name).values():
            assert pd.Timestamp(row["checked"]) <= pd.Timestamp.now()
            assert len(row["source"]) > 10


# The request ------------------------------------------------------------------------------------


def test_a_dry_run_needs_no_account_and_calls_nobody(folder, capsys, monkeypatch):
    def refuse(*_):
        raise AssertionError("a dry run opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    asked = dry_run(folder, capsys, "--name", "a-1", "--", "--epochs", "5")
    assert asked["AlgorithmSpecification"]["ContainerArguments"] == ["--epochs", "5"]
    assert asked["AlgorithmSpecification"]["TrainingImage"] == (
        "763104351884.dkr.ecr.us-east-1.amazonaws.com/"
        "pytorch-training:2.9.0-gpu-py312-cu130-ubuntu22.04-sagemaker"
    )
    assert asked["CheckpointConfig"]["S3Uri"] == "s3://YOUR-BUCKET/medimg/a-1/checkpoints"


def test_what_is_safe_is_the_default(folder, capsys):
    asked = dry_run(folder, capsys)
    assert asked["EnableManagedSpotTraining"]
    assert asked["EnableInterContainerTrafficEncryption"]
    assert not asked["EnableNetworkIsolation"]  # packages have to be installed
    assert dry_run(folder, capsys, "--wheels", str(folder))["EnableNetworkIsolation"]
    assert dry_run(folder, capsys, "--image", "mine:1")["EnableNetworkIsolation"]


def test_a_job_cannot_cost_more_than_the_limit(folder, capsys):
    options = ("--max-usd", "3", "--usd-per-hour", "2", "--count", "2")
    asked = dry_run(folder, capsys, *options)
    hourly = 2 * (2 + asked["ResourceConfig"]["VolumeSizeInGB"] * 0.14 / 730)
    limit = asked["StoppingCondition"]
    assert (limit["MaxRuntimeInSeconds"] + 120) / 3600 * hourly <= 3
    assert limit["MaxRuntimeInSeconds"] > 0.7 * 3 / hourly * 3600
    assert limit["MaxWaitTimeInSeconds"] == limit["MaxRuntimeInSeconds"]  # restarts included
    asked = dry_run(folder, capsys, "--on-demand")
    assert "MaxWaitTimeInSeconds" not in asked["StoppingCondition"]


def test_the_key_is_used_wherever_it_may_be(folder, capsys):
    key = ("--kms-key", "arn:aws:kms:us-east-1:123456789012:key/1")
    asked = dry_run(folder, capsys, *key)  # this machine's disk is built in
    assert asked["OutputDataConfig"]["KmsKeyId"] == key[1]
    assert "VolumeKmsKeyId" not in asked["ResourceConfig"]
    asked = dry_run(folder, capsys, *key, "--instance", "ml.m5.xlarge")
    assert asked["ResourceConfig"]["VolumeKmsKeyId"] == key[1]


def test_unified_studio_gives_role_bucket_and_key(folder, capsys, monkeypatch):
    project = types.SimpleNamespace(
        iam_role=ROLE, kms_key_arn="key", id="p1", s3=types.SimpleNamespace(root="s3://b/d/p1/dev")
    )
    studio = types.SimpleNamespace(Project=lambda: project)
    monkeypatch.setitem(sys.modules, "sagemaker_studio", studio)
    asked = dry_run(folder, capsys, "--name", "a")
    assert asked["RoleArn"] == ROLE
    assert asked["OutputDataConfig"] == {
        "S3OutputPath": "s3://b/d/p1/dev/medimg/a/output", "KmsKeyId": "key",
    }  # fmt: skip
    assert {"Key": "AmazonDataZoneProject", "Value": "p1"} in asked["Tags"]
    assert dry_run(folder, capsys, "--role", f"{ROLE}-2")["RoleArn"] == f"{ROLE}-2"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-usd", "0.5", "--images", "200000"], "above --max-usd 0.5; nothing was started"),
        (["--data", "s3://b/p"], "s3://BUCKET/PREFIX and --images"),
        (["--data", "nowhere"], "--data 'nowhere': give a folder or s3://BUCKET/PREFIX"),
        (["--data", "nowhere", "--images", "9"], "--data 'nowhere': give a folder"),
        (["--region", "xx-east-9", "--usd-per-hour", "1"], "no container is known in region xx"),
        (["--", "--epoch", "x"], "--epoch"),
        (["--", "--weights", "mine.pt"], "--weights is not sent"),
        (["--wheels", "nowhere"], "--wheels is a folder"),
        (["--name", "a b/c"], "--name a b/c: give up to 63 letters"),
    ],
)
def test_one_line_for_each_mistake(folder, capsys, options, said):
    before = [] if "--data" in options else ["--data", str(folder)]
    assert main(["launch", *before, "--dry-run", *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_job_reads_the_table_in_the_folder(folder, tmp_path, capsys):
    """NIH, CheXpert and MIMIC come as folders with a table; the job finds both elsewhere."""
    shutil.copytree(folder, tmp_path / "set" / "images")
    rows = [(p.relative_to(tmp_path / "set" / "images").as_posix(), p.parent.name, p.stem)
            for p in sorted((tmp_path / "set").rglob("*.png"))]  # fmt: skip
    table = pd.DataFrame(rows, columns=["path", "label", "patient_id"])
    table.to_csv(tmp_path / "set" / "labels.csv", index=False)
    given = ("--", "--data", "labels.csv", "--image-dir", "images", "--strategy", "frozen")
    asked = dry_run(tmp_path / "set", capsys, *given)
    assert asked["AlgorithmSpecification"]["ContainerArguments"][-4:] == [
        "--data", "/opt/ml/input/data/training/labels.csv",
        "--image-dir", "/opt/ml/input/data/training/images",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--strategy", "frozen", "--epochs", "3"], "works without epochs"),
        (["--by", "patient"], "the patients are not known"),
        (["--ordinal"], "order"),
    ],
)
def test_no_job_is_billed_that_fit_would_refuse(tmp_path, folder, capsys, options, said):
    for split in ("train", "val"):
        shutil.copytree(folder, tmp_path / split)
    for path in (tmp_path / "val").rglob("*.png"):  # other images than those of train
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    assert said in dry_run(tmp_path, capsys, "--", *options)


def test_a_bill_goes_by_strategy_and_by_the_bytes_of_the_folder(folder, tmp_path, capsys):
    assert cloud.bill(5000, frozen=True).usd < cloud.bill(5000).usd
    assert cloud.passes(5000, frozen=True)[1] == 0
    assert cloud.passes(100)[1] == 0  # `fit` solves the head of so few
    assert cloud.passes(100, epochs=5)[1] > 0
    shutil.copytree(folder, tmp_path / "set")
    (tmp_path / "set" / "raw.bin").write_bytes(b"0" * 50_000_000)  # sent with the images
    small, large = (
        dry_run(path, capsys, "--images", "20000")["ResourceConfig"]["VolumeSizeInGB"]
        for path in (folder, tmp_path / "set")
    )
    assert large > small + 35


def test_a_real_start_needs_role_and_bucket(folder, capsys):
    assert main(["launch", "--data", str(folder)]) == 2
    assert "--role or --bucket is missing" in capsys.readouterr().err
    assert main(["launch"]) == 2
    assert "--data '': give a folder" in capsys.readouterr().err


# The container ----------------------------------------------------------------------------------


def job_folders(root, folder, monkeypatch, asked):
    """Lay out /opt/ml as Amazon does, and set the variables of the request."""
    paths = {name: str(root / "ml" / where.removeprefix("/opt/ml/")) if "/" in where else where
             for name, where in asked["Environment"].items()}  # fmt: skip
    for name, where in paths.items():
        monkeypatch.setenv(name, where)
        if "/" in where and name != "SM_CHANNEL_TRAINING":
            Path(where).mkdir(parents=True, exist_ok=True)
    if not Path(paths["SM_CHANNEL_TRAINING"]).exists():
        Path(paths["SM_CHANNEL_TRAINING"]).symlink_to(folder)
    config = Path(paths["SM_INPUT_CONFIG_DIR"], "resourceconfig.json")
    config.write_bytes(b'{"hosts": ["algo-1"], "current_host": "algo-1"}')
    return {name: Path(where) for name, where in paths.items()}


@pytest.mark.skipif(os.name == "nt", reason="the containers are Linux, and links need rights")
def test_a_job_that_is_interrupted_resumes_where_it_was(folder, tmp_path, capsys, monkeypatch):
    """What launch packs runs as it does in the cloud: killed after an epoch, started again."""
    fit = ["--size", "32", "--epochs", "3", "--strategy", "all", "--seed", "3"]
    asked = dry_run(folder, capsys, "--instance", "ml.m5.xlarge", "--", *fit)
    assert asked["AlgorithmSpecification"]["ContainerArguments"] == fit
    args = types.SimpleNamespace(wheels=str(tmp_path / "wheels"), data="s3://study/set")
    (tmp_path / "wheels").mkdir()
    for name in ("timm-1-py3-none-any.whl", "torch-2-cp312-linux.whl"):
        (tmp_path / "wheels" / name).write_bytes(b"")

    def start(root):
        paths = job_folders(root, folder, monkeypatch, asked)
        packed = root / "packed"
        packed.mkdir(exist_ok=True)
        for key, path in cloud._files(args, packed).items():
            target = paths["SM_CHANNEL_CODE"] / key.removeprefix("code/")
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
        (root / "pip").mkdir(exist_ok=True)  # in the place of pip: notes what it was asked
        (root / "pip" / "__init__.py").touch()  # else an installed pip goes before it
        (root / "pip" / "__main__.py").write_bytes(b"import sys; print(*sys.argv[1:])")
        command = [sys.executable, str(paths["SM_CHANNEL_CODE"] / "container.py"), *fit]
        log = (root / "log").open("ab")
        how = {"stdout": log, "stderr": log, "start_new_session": True, "cwd": root}
        return paths, subprocess.Popen(command, **how)

    paths, job = start(tmp_path)
    checkpoint, waited = paths["SM_CHECKPOINT_DIR"] / "checkpoint.pt", time.monotonic()
    while not checkpoint.exists() and job.poll() is None and time.monotonic() - waited < 300:
        time.sleep(0.02)
    assert job.poll() is None, (tmp_path / "log").read_bytes()
    os.killpg(job.pid, signal.SIGKILL)  # the spot machine is taken away
    assert job.wait() == -signal.SIGKILL, (tmp_path / "log").read_bytes()
    assert not (paths["SM_MODEL_DIR"] / "model.safetensors").exists()

    _, again = start(tmp_path)
    assert again.wait(600) == 0, (tmp_path / "log").read_bytes()
    log = (tmp_path / "log").read_bytes()
    assert [log.count(b"epoch %d:" % epoch) for epoch in (1, 2, 3)] == [1, 1, 1]  # none twice
    kept = {path.name for path in paths["SM_MODEL_DIR"].iterdir()}
    assert kept == {"model.safetensors", "model.json", "history.csv", "studies.csv", "evaluation"}
    history = pd.read_csv(paths["SM_MODEL_DIR"] / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3]
    assert (paths["SM_MODEL_DIR"] / "evaluation" / "report.html").is_file()
    code = paths["SM_CHANNEL_CODE"]
    asked = f"install --no-index --find-links {code}/wheels -r {code}/requirements.txt\n"
    assert (tmp_path / "log").read_bytes().startswith(asked.encode())
    assert [path.name for path in (code / "wheels").iterdir()] == ["timm-1-py3-none-any.whl"]
    needed = (code / "requirements.txt").read_bytes().decode().splitlines()
    assert "timm>=1.0" in needed
    assert not any("jupyter" in name or "extra" in name for name in needed)


# The result -------------------------------------------------------------------------------------


def archive(**content):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


# With Amazon's client ---------------------------------------------------------------------------


def test_the_request_fits_amazon_s_own_description(folder, capsys):
    model = client_model()
    from botocore.validate import validate_parameters

    for options in ([], ["--on-demand", "--instance", "ml.g5.12xlarge", "--kms-key", "k"],
                    ["--tag", "unit=radiology", "--", "--epochs", "2"],
                    ["--region", "xx", "--usd-per-hour", "1", "--image", "i:1"]):  # fmt: skip
        asked = dry_run(folder, capsys, *options)
        validate_parameters(asked, model)
        assert None not in asked.values()
        assert set(asked) <= set(model.members)
    with pytest.raises(Exception, match="validation failed"):
        validate_parameters(asked | {"TrainingJobName": 3}, model)


@pytest.fixture(scope="module")
def server():
    """An S3 and SageMaker on this machine."""
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    yield "http://{}:{}".format(*running.get_host_and_port())
    running.stop()


@pytest.fixture
def amazon(server, monkeypatch):
    """A fresh account with a private bucket, and one whose bucket could be made public."""
    import boto3

    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for name, value in {"AWS_ENDPOINT_URL": server, "AWS_REGION": "us-east-1", **keys}.items():
        monkeypatch.setenv(name, value)
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST"))
    s3 = boto3.client("s3", region_name="us-east-1")
    for name in ("films", "open"):
        s3.create_bucket(Bucket=name)
    s3.put_public_access_block(Bucket="films", PublicAccessBlockConfiguration=dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
    ))  # fmt: skip
    s3.create_bucket(Bucket="study")  # holds images that are there already
    s3.put_object(Bucket="study", Key="set/normal/0.png", Body=b"x")
    s3.create_bucket(Bucket="far", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    s3.put_object(Bucket="far", Key="set/normal/0.png", Body=b"x")
    return types.SimpleNamespace(s3=s3, sagemaker=boto3.client("sagemaker", "us-east-1"))


def start(folder, *options, bucket="films"):
    given = ["--data", str(folder), "--role", ROLE, "--bucket", bucket, *options]
    return main(["launch", *given])


def keys(s3):
    return [found["Key"] for found in s3.list_objects_v2(Bucket="films").get("Contents", ())]


def test_the_whole_way_and_back(amazon, folder, tmp_path, capsys, monkeypatch):
    import boto3

    monkeypatch.setattr(cloud.time, "sleep", lambda _: None)
    logs = boto3.client("logs", "us-east-1")
    where = {"logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamName": "job-1/algo-1"}
    logs.create_log_group(logGroupName=where["logGroupName"])
    logs.create_log_stream(**where)
    events = [{"timestamp": int(time.time() * 1000), "message": "epoch 1\x1b[2J"}]
    logs.put_log_events(**where, logEvents=events)

    assert start(folder, "--name", "job-1", "--wait", "--", "--epochs", "2") == 0
    printed = capsys.readouterr().out
    assert "\nbill: $0.14 = 0.10 h" in printed
    assert "1 x ml.g5.xlarge; price: 2026-" in printed
    assert "started job-1" in printed
    assert printed.endswith("epoch 1\\x1b[2J\n")
    sent = keys(amazon.s3)
    assert {k for k in sent if "/code/" in k} == {
        f"medimg/job-1/code/{n}" for n in ("medimg.tar.gz", "container.py", "requirements.txt")
    }
    assert "medimg/job-1/data/normal/p00.png" in sent
    assert sum("/data/" in k for k in sent) == 24
    for key in sent:
        assert amazon.s3.head_object(Bucket="films", Key=key)["ServerSideEncryption"] == "AES256"
    job = amazon.sagemaker.describe_training_job(TrainingJobName="job-1")
    assert job["EnableManagedSpotTraining"]
    assert job["CheckpointConfig"]["S3Uri"] == "s3://films/medimg/job-1/checkpoints"

    assert "aws s3 rm --recursive s3://films/medimg/job-1\n" in printed

    whole = archive(**{"model.safetensors": b"w" * 5000, "evaluation/report.html": b"h"})
    result = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://films/")
    out = tmp_path / "back"
    fetch = ["launch", "--fetch-result", "job-1", "--out", str(out / "run")]
    for odd in (b"no archive", whole[:-30], whole[:20], archive(**{"../evil": b"x"}),
                archive(**{"history.csv": "/etc/passwd"})):  # fmt: skip
        amazon.s3.put_object(Bucket="films", Key=result, Body=odd)
        assert main(fetch) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert list(out.iterdir()) == []  # nothing, neither there nor beside it
    amazon.s3.put_object(Bucket="films", Key=result, Body=whole)
    assert main(fetch) == 0
    assert (out / "run" / "evaluation" / "report.html").read_bytes() == b"h"
    assert main(fetch) == 2
    assert "run exists already; choose another --out" in capsys.readouterr().err


def test_images_that_lie_in_s3_stay_where_they_are(amazon, capsys):
    assert start("s3://study/set", "--images", "5000", "--name", "j") == 0
    job = amazon.sagemaker.describe_training_job(TrainingJobName="j")
    source = job["InputDataConfig"][0]["DataSource"]["S3DataSource"]
    assert source["S3Uri"] == "s3://study/set/"
    assert all("/code/" in key for key in keys(amazon.s3))


def test_amazon_s_client_does_not_tell_where_it_found_what(amazon, caplog, monkeypatch):
    import boto3

    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # which has told already
    with caplog.at_level(logging.INFO):
        assert start("s3://study/set", "--images", "9", "--name", "quiet") == 0
    assert [record for record in caplog.records if record.name.startswith("boto")] == []


def fails(capsys, folder, *options, **how):
    assert start(folder, *options, **how) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_refused_before_anything_is_sent(amazon, folder, capsys, monkeypatch):
    assert "create the bucket" in fails(capsys, folder, bucket="missing")
    assert "correct that option" in fails(capsys, folder, bucket="a b")
    assert "may be made public" in fails(capsys, folder, bucket="open")
    assert "bucket far is in eu-central-1, not in us-east-1" in fails(capsys, folder, bucket="far")
    for address, said in (
        ("s3://far/set", "bucket far is in eu-central-1"),
        ("s3://study/sett", "nothing is at --data s3://study/sett"),
        ("s3://study/se", "nothing is at --data s3://study/se;"),
        ("s3://nosuch/set", "create the bucket"),
    ):
        assert said in fails(capsys, address, "--images", "9")
    assert keys(amazon.s3) == []
    for n in range(12):  # more than Amazon lists at once
        assert start("s3://study/set", "--images", "9", "--name", f"{n}-twice") == 0
    assert start("s3://study/set", "--images", "9", "--name", "twice") == 0
    before = keys(amazon.s3)
    assert "choose another --name" in fails(capsys, folder, "--name", "twice")
    assert keys(amazon.s3) == before
    amazon.s3.put_object(Bucket="films", Key="medimg/left/checkpoints/old", Body=b"x")
    assert "its files do" in fails(capsys, folder, "--name", "left")
    assert set(keys(amazon.s3)) == {"medimg/left/checkpoints/old", *before}
    import boto3

    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # which remembers the account
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "sign in again" in fails(capsys, folder)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ResourceLimitExceeded", "ask for a higher quota in Service Quotas"),
        ("ResourceInUse", "a job of this name exists"),
        ("UnrecognizedClientException", "sign in again"),
        ("AccessDeniedException", "ask your administrator"),
    ],
)
def test_what_amazon_refuses_leaves_nothing_behind(amazon, folder, capsys, monkeypatch, code, said):
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError

    called, real = [], BaseClient._make_api_call

    def refuse(self, operation, given):
        called.append(operation)
        if operation == "CreateTrainingJob":
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)
        return real(self, operation, given)

    monkeypatch.setattr(BaseClient, "_make_api_call", refuse)
    assert said in fails(capsys, folder)
    assert "PutObject" in called
    assert "StopTrainingJob" not in called  # there is none, or it is not ours
    monkeypatch.undo()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    assert keys(amazon.s3) == []


def test_a_cut_network_is_said_in_one_line(amazon, folder, capsys, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens
    error = fails(capsys, folder)
    assert "the network is cut or the region does not exist" in error
    assert "ends by itself when --max-usd is spent" in error


def test_a_lost_answer_stops_the_job_that_may_have_started(amazon, folder, capsys, monkeypatch):
    from botocore.client import BaseClient
    from botocore.exceptions import ReadTimeoutError

    called, real = [], BaseClient._make_api_call

    def lose(self, operation, given):
        called.append(operation)
        answer = real(self, operation, given)
        if operation == "CreateTrainingJob":
            raise ReadTimeoutError(endpoint_url="sagemaker")
        return answer

    monkeypatch.setattr(BaseClient, "_make_api_call", lose)
    assert "the network is cut" in fails(capsys, folder, "--name", "lost")
    assert "StopTrainingJob" in called
    assert keys(amazon.s3) == []


def test_a_colleague_s_job_of_the_same_name_goes_on(amazon, folder, capsys, monkeypatch):
    """Both looked before either had started; the second is refused, and leaves the first alone."""
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError

    called, real = [], BaseClient._make_api_call

    def overtaken(self, operation, given):
        called.append(operation)
        if operation == "CreateTrainingJob":
            real(self, operation, given | {"HyperParameters": {"launch": "theirs"}})
            raise ClientError({"Error": {"Code": "ResourceInUse", "Message": "no"}}, operation)
        return real(self, operation, given)

    monkeypatch.setattr(BaseClient, "_make_api_call", overtaken)
    assert "a job of this name exists" in fails(capsys, folder, "--name", "shared")
    assert "DescribeTrainingJob" in called
    assert "StopTrainingJob" not in called


def test_each_start_has_a_mark_and_a_name_of_its_own(folder, capsys):
    one, two = (dry_run(folder, capsys) for _ in range(2))
    assert one["HyperParameters"] != two["HyperParameters"]
    assert one["TrainingJobName"] != two["TrainingJobName"]


def test_results_are_fetched_of_finished_jobs_only(amazon, folder, capsys, monkeypatch, tmp_path):
    assert start("s3://study/set", "--images", "9", "--name", "j") == 0
    from botocore.client import BaseClient

    real = BaseClient._make_api_call

    def interrupted(self, operation, given):
        answer = real(self, operation, given)
        if operation == "DescribeTrainingJob":
            answer |= {"TrainingJobStatus": "InProgress", "SecondaryStatus": "Interrupted"}
        return answer

    monkeypatch.setattr(BaseClient, "_make_api_call", interrupted)
    assert main(["launch", "--fetch-result", "j", "--out", str(tmp_path / "j")]) == 2
    assert capsys.readouterr().err == "medimg: job j has no result: InProgress, Interrupted\n"
    assert not (tmp_path / "j").exists()


def test_waiting_goes_on_through_an_interruption_and_ctrl_c_stops_the_job(
    amazon, capsys, monkeypatch
):
    from botocore.client import BaseClient

    states = iter(["InProgress", "InProgress", "Failed", "Failed", "InProgress"])
    called, real = [], BaseClient._make_api_call

    def scripted(self, operation, given):
        called.append(operation)
        answer = real(self, operation, given)
        if operation == "DescribeTrainingJob":
            answer |= {"TrainingJobStatus": next(states), "FailureReason": "no disk"}
        return answer

    monkeypatch.setattr(BaseClient, "_make_api_call", scripted)
    monkeypatch.setattr(cloud.time, "sleep", lambda _: None)
    assert start("s3://study/set", "--images", "9", "--name", "j", "--wait") == 2
    assert "job j has no result: Failed, no disk" in capsys.readouterr().err
    assert called.count("DescribeTrainingJob") == 4

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cloud.time, "sleep", interrupt)
    assert start("s3://study/set", "--images", "9", "--name", "k", "--wait") == 130
    assert called[-1] == "StopTrainingJob"

"""Train in the cloud: a bill, one request to Amazon SageMaker, and the result brought back.

The tables beside this module (``cloud/*.csv``) hold prices, speeds, regions and remedies, each row
with the day on which it was looked up. To renew a price, change its row.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import secrets
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import requires
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from medimg.errors import MedimgError
from medimg.progress import tqdm
from medimg.storage import atomic_write, walk_files
from medimg.tables import visible
from medimg.training import recipe

_CLOUD = files("medimg.commands").joinpath("cloud")
_CONTAINER = "pytorch-training:2.9.0-{}-ubuntu22.04-sagemaker"  # of November 2026; or --image
_DISK_USD, _S3_USD = 0.14 / 730, 0.023  # a GB of a job's disk per hour, of S3 per month
_START, _STOP = 360, 120  # seconds: machine, container, packages; what a stopped job may still run
_COPIED = 0.2  # GB per second from S3 to a machine's disk: assumed, not measured
_RESULTS = ("model.safetensors", "model.json", "history.csv", "studies.csv",
            "evaluation/report.html", "evaluation/report.json",
            "evaluation/predictions.csv")  # fmt: skip
_LARGEST_RESULT = 2_000_000_000  # bytes


@dataclass(frozen=True)
class Bill:
    """What a training job will take, reckoned before it starts.

    Attributes
    ----------
    job : str
        Number and type of the machines.
    hours : dict of float
        Wall-clock hours by part: start, copy, decode, train (with validation and test).
    usd_per_hour : float
        Of all machines together, with their disks.
    memory_gb, disk_gb, stored_gb : float
        Memory and disk that each machine needs; images in S3, which cost until they are deleted.
    basis : str
        Where price and speed come from.
    """

    job: str
    hours: dict[str, float]
    usd_per_hour: float
    memory_gb: float
    disk_gb: int
    stored_gb: float
    basis: str

    @property
    def usd(self) -> float:
        """Dollars at the on-demand price; a spot machine never costs more."""
        return sum(self.hours.values()) * self.usd_per_hour

    def __str__(self) -> str:
        parts = " + ".join(f"{part} {hours:.2f}" for part, hours in self.hours.items())
        return (
            f"bill for {self.job}: ${self.usd:.2f} = {sum(self.hours.values()):.2f} h "
            f"({parts}) at ${self.usd_per_hour:.2f}\n"
            f"needs {self.memory_gb:.0f} GB of memory and {self.disk_gb} GB of disk; images in S3: "
            f"{self.stored_gb:.2f} GB, ${self.stored_gb * _S3_USD:.2f} per month until deleted\n"
            f"{self.basis}"
        )


def bill(
    images: int, *, instance: str = "ml.g5.xlarge", count: int = 1, epochs: int | None = None,
    size: int = 224, megapixels: float = 1.0, usd_per_hour: float | None = None,
    region: str = "us-east-1",
) -> Bill:  # fmt: skip
    """Reckon time and price of fitting and evaluating EfficientNet-Lite0.

    Each image is copied to each machine and decoded there, once. Seven of ten train: one pass
    forward for the first head, then a training pass per epoch. The others are passed forward after
    each epoch, and at the end in as many views as the recipe averages.

    Parameters
    ----------
    images : int
        Images in all: training, validation and test.
    instance : str
        A machine of ``instances.csv``.
    count : int
        Machines; work is taken to divide evenly.
    epochs : int, optional
        By default those of `recipe`.
    size : int
        Side of the network's images in pixels.
    megapixels : float
        Size of an image as it is stored.
    usd_per_hour : float, optional
        Price of one machine where the table has none, or an old one.
    region : str
        Amazon's name of the region.

    Returns
    -------
    Bill

    Raises
    ------
    MedimgError
        When the instance is unknown, has no price in the region, or has too little memory or disk.

    Examples
    --------
    >>> bill(5_000).usd < bill(5_000, size=448).usd
    True
    """
    prices, speeds = _table("instances"), _table("speeds")
    if instance not in prices:
        known = ", ".join(prices)
        raise MedimgError(f"the instance {instance} is not in the table; choose one of {known}")
    row = prices[instance]
    if usd_per_hour is None and region != row["region"]:
        raise MedimgError(
            f"the price of {instance} in {region} is not in the table; look it up on Amazon's page "
            "of SageMaker prices and give --usd-per-hour"
        )
    gpus, here = row["gpus"], speeds[row["processor"]]
    decoders = row["vcpus"] * speeds["vcpu"]["decode_megapixels"]  # every machine decodes all
    networks = count * (gpus or row["vcpus"]) * (224 / size) ** 2
    forward, backward = passes(images, epochs)
    stored = images * megapixels * 0.4e6 / 1e9  # as a PNG, 0.4 bytes per pixel
    seconds = {
        "start": _START, "copy": stored / _COPIED,
        "decode": images * megapixels / decoders,
        "train": (forward / here["predict_images"] + backward / here["train_images"]) / networks,
    }  # fmt: skip
    disk = math.ceil(20 + stored + images * 3 * size**2 / 1e9)
    memory = 2 + 3 * max(1, gpus) * (size / 224) ** 2  # benchmarks/results/engine_scaling.md
    short = {"memory": memory - row["memory_gb"], "disk": disk - (row["local_gb"] or 16_000)}
    for name, lack in short.items():
        if lack > 0:
            raise MedimgError(f"{instance} lacks {lack:.0f} GB of {name}; choose a larger one")
    looked_up = f"{row['checked']}, {row['source']}"
    return Bill(
        f"{count} x {instance}", {part: value / 3600 for part, value in seconds.items()},
        count * ((usd_per_hour or row["usd_per_hour"]) + disk * _DISK_USD), memory, disk, stored,
        f"price: {'yours' if usd_per_hour else looked_up} ({region}); "
        f"speed: {here['basis']}, {here['checked']}",
    )  # fmt: skip


def passes(images: int, epochs: int | None = None) -> tuple[float, float]:
    """Return how many images pass a network forward, and how many train it, until it is tested.

    Parameters
    ----------
    images : int
        Images in all; 70 % train, 15 % validate, 15 % test.
    epochs : int, optional
        By default those of `recipe`; the first one only solves the head.

    Returns
    -------
    tuple of float
        Passes forward, and training passes, in images of full size.
    """
    settings = recipe(max(2, round(0.7 * images)))
    steps = (epochs or settings.epochs) - 1
    sides = settings.sizes or (1.0,)
    area = sum(side**2 for side in sides) / len(sides)
    forward = 0.7 + 0.15 * (steps + 1) + 2 * 0.15 * (4 if settings.tta else 1)
    return images * forward, images * 0.7 * steps * area


def _table(name: str) -> dict[str, dict[str, Any]]:
    """Return the rows of a table by their first column."""
    with _CLOUD.joinpath(f"{name}.csv").open(encoding="utf-8") as file:
        table: Any = pd.read_csv(file, index_col=0, dtype={"account": str})
    return dict(table.to_dict("index"))


def launch(args: argparse.Namespace) -> None:
    """Train on Amazon SageMaker: print the bill, send code and data, start the job."""
    if args.fetch_result or args.remove:
        (_fetch if args.fetch_result else _remove)(args)
        return
    for name in ("data", "root", "cache", "weights", "resume"):
        if getattr(args.fit_settings, name):
            raise MedimgError(f"--{name} cannot stand after --; give --data before it")
    args.data = args.data or ""
    remote, local = args.data.startswith("s3://"), Path(args.data)
    if not args.data or (not remote and not local.is_dir()):
        raise MedimgError(f"--data '{args.data}' is neither a folder nor s3://BUCKET/PREFIX")
    if remote and not args.images:
        raise MedimgError("--images is missing: how many images lie in S3?")
    vars(args).update({k: v for k, v in _studio().items() if not vars(args)[k]})
    args.region = args.region or os.environ.get("AWS_REGION", "us-east-1")
    args.name = args.name or f"medimg-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    kinds = (".csv", ".md", ".txt", ".json")
    images = args.images or sum(f.suffix.lower() not in kinds for f in walk_files(local).files)
    fit = args.fit_settings
    found = bill(
        images, instance=args.instance, count=args.count, epochs=fit.epochs, size=fit.image_size,
        megapixels=args.megapixels, usd_per_hour=args.usd_per_hour, region=args.region,
    )  # fmt: skip
    print(found)
    if found.usd > args.max_usd:
        raise MedimgError(f"this is above --max-usd {args.max_usd:g}; nothing was started")
    asked = request(args, found)
    if args.dry_run:
        print(f"{json.dumps(asked, indent=1)}\n{_validated(asked)}; nothing was sent")
    elif args.role and args.bucket:
        _start(args, asked, None if remote else local)
    else:
        raise MedimgError("--role or --bucket is missing: who runs the job, where its files lie")


def _studio() -> dict[str, Any]:
    """Return role, bucket and key of the project, inside Unified Studio."""
    try:
        from sagemaker_studio import Project

        here = Project()
        return {"role": here.iam_role, "bucket": here.s3.root, "kms_key": here.kms_key_arn,
                "tag": [f"AmazonDataZoneProject={here.id}"]}  # fmt: skip
    except Exception:  # not installed, or in no project, for which it raises many kinds
        return {}


def request(args: argparse.Namespace, found: Bill) -> dict[str, Any]:
    """Return the request that starts a job, as Amazon's ``CreateTrainingJob`` takes it.

    All is encrypted, on disks, in S3 and between machines. The container has no network where
    ``--wheels`` or ``--image`` bring its packages. The job is ended when the limit is spent, waits
    for a spot machine included.

    Parameters
    ----------
    args : Namespace
        What the command line was given.
    found : Bill
        Its price per hour makes the time limit.

    Returns
    -------
    dict
    """
    row, region, root = _table("instances")[args.instance], args.region, _root(args)
    if region not in (accounts := _table("regions")) and not args.image:
        raise MedimgError(f"no container is known in region {region}; give one with --image")
    text = _CLOUD.joinpath("request.json").read_text(encoding="utf-8")
    data = args.data if args.data.startswith("s3://") else f"{root}/data"
    for word, value in {"NAME": args.name, "DATA": data.rstrip("/") + "/", "ROOT": root}.items():
        text = text.replace(word, value)
    asked: dict[str, Any] = json.loads(text)
    seconds = min(int(args.max_usd / found.usd_per_hour * 3600) - _STOP, 28 * 86_400)
    asked["StoppingCondition"]["MaxRuntimeInSeconds"] = seconds
    if not args.on_demand:
        asked["StoppingCondition"]["MaxWaitTimeInSeconds"] = seconds
    image = _CONTAINER.format("gpu-py312-cu130" if row["gpus"] else "cpu-py312")
    if not args.image:
        image = f"{accounts[region]['account']}.dkr.ecr.{region}.amazonaws.com/{image}"
    asked["AlgorithmSpecification"]["TrainingImage"] = args.image or image
    if args.fit:
        asked["AlgorithmSpecification"]["ContainerArguments"] = args.fit
    asked["ResourceConfig"] = {"InstanceType": args.instance, "InstanceCount": args.count,
                               "VolumeSizeInGB": found.disk_gb}  # fmt: skip
    if args.kms_key:
        asked["OutputDataConfig"]["KmsKeyId"] = args.kms_key
        if not row["local_gb"]:  # Amazon refuses a key for disks that are built in
            asked["ResourceConfig"]["VolumeKmsKeyId"] = args.kms_key
    asked["RoleArn"] = args.role or "arn:aws:iam::000000000000:role/YOUR-ROLE"
    asked["EnableManagedSpotTraining"] = not args.on_demand
    asked["EnableNetworkIsolation"] = bool(args.wheels or args.image)
    asked["Environment"]["SM_NUM_GPUS"] = str(row["gpus"])
    tags = {"project": "medimg"} | dict(tag.partition("=")[::2] for tag in args.tag)
    return asked | {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


def _root(args: argparse.Namespace) -> str:
    """Return the address under which all of a job lies."""
    bucket = (args.bucket or "YOUR-BUCKET").removeprefix("s3://").strip("/")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", bucket):
        raise MedimgError(f"--bucket {bucket} is not the name of a bucket or s3://BUCKET/PREFIX")
    if not re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", args.name):
        raise MedimgError(f"--name {args.name}: use up to 63 letters, digits and hyphens")
    return f"s3://{bucket}/medimg/{args.name}"


def _validated(asked: dict[str, Any]) -> str:
    """Check a request against Amazon's own description of it, offline."""
    try:
        import boto3  # and not its core alone, which other packages bring
        from botocore.validate import validate_parameters
    except ImportError:
        return "not checked, since boto3 is not installed"
    model = boto3.client("sagemaker", region_name="us-east-1").meta.service_model  # calls nobody
    with _plainly("the request"):
        validate_parameters(asked, model.operation_model("CreateTrainingJob").input_shape)
    return "valid by Amazon's description of the request"


def _client(args: argparse.Namespace, service: str) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise MedimgError("launch needs boto3; install it: pip install 'medimg[aws]'") from error
    patience = Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 3})
    with _plainly(service):
        return boto3.client(service, region_name=args.region or "us-east-1", config=patience)


@contextmanager
def _plainly(what: str) -> Iterator[None]:
    """Turn what Amazon's client raises into one sentence that says what to do."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        fixes = (row["fix"] for seen, row in _table("fixes").items() if re.search(seen, str(error)))
        raise MedimgError(f"{what}: {error}; {next(fixes, 'see the message')}") from error


def _start(args: argparse.Namespace, asked: dict[str, Any], local: Path | None) -> None:
    """Send code and data, start the job; after a failure nothing runs and nothing is left."""
    s3, sagemaker, name = _client(args, "s3"), _client(args, "sagemaker"), args.name
    bucket, _, root = _root(args).removeprefix("s3://").partition("/")
    with _plainly(f"job {name}"):
        found = sagemaker.list_training_jobs(NameContains=name)["TrainingJobSummaries"]
    if name in (job["TrainingJobName"] for job in found):
        raise MedimgError(f"job {name}: a job of this name exists; choose another --name")
    with _plainly(f"bucket {bucket}"):
        s3.head_bucket(Bucket=bucket)
        _check_private(s3, bucket)
    try:
        with tempfile.TemporaryDirectory() as scratch, _plainly(f"sending to {bucket}"):
            _send(s3, bucket, dict(_files(args, root, local, Path(scratch))), args.kms_key)
        with _plainly(f"starting {name}"):
            sagemaker.create_training_job(**asked)
    except BaseException as error:
        with suppress(Exception):  # the answer may be lost, and the job started
            if "ResourceInUse" not in str(error):  # that one is another's
                sagemaker.stop_training_job(TrainingJobName=name)
        with suppress(Exception):
            _empty(s3, bucket, root)
        raise
    print(f"started {name}; when it is done: medimg launch --fetch-result {name} --out FOLDER, "
          f"then delete its files: medimg launch --remove {name}")  # fmt: skip
    if args.wait:
        _wait(args, sagemaker)


def _check_private(s3: Any, bucket: str) -> None:
    """Refuse a bucket that could be opened to the public."""
    blocked: dict[str, bool] = {}
    try:
        blocked = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    except s3.exceptions.ClientError as error:
        if "NoSuchPublicAccessBlock" not in str(error):
            raise
    if sum(blocked.values()) < 4:
        raise MedimgError(f"bucket {bucket} may be made public; switch its Block Public Access on")


def _files(
    args: argparse.Namespace, root: str, local: Path | None, scratch: Path
) -> Iterator[tuple[str, Path]]:
    """Yield key and file of all that a job needs: the package, its start, wheels and data."""
    package = Path(str(files("medimg")))
    shutil.make_archive(str(scratch / "medimg"), "gztar", package.parent, "medimg")
    unneeded = re.compile("extra ==|^(jupyter|nbconvert|ipywidgets)")
    lacking = [name for name in requires("medimg") or () if not unneeded.search(name)]
    (scratch / "requirements.txt").write_text("\n".join(lacking), encoding="utf-8")
    shutil.copy(package / "commands" / "container.py", scratch)
    for path in scratch.iterdir():
        yield f"{root}/code/{path.name}", path
    for path in walk_files(args.wheels).files if args.wheels else ():
        if not re.match("torch|nvidia|triton|cuda", path.name):  # the container has these
            yield f"{root}/code/wheels/{path.name}", path
    for path in walk_files(local).files if local else ():
        yield f"{root}/data/{path.relative_to(str(local)).as_posix()}", path


def _send(s3: Any, bucket: str, paths: dict[str, Path], key: str | None) -> None:
    """Upload files, encrypted with the user's key or Amazon's."""
    how = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}
    how = how or {"ServerSideEncryption": "AES256"}
    pool = ThreadPoolExecutor(8)
    try:
        sent = [pool.submit(s3.upload_file, str(p), bucket, k, how) for k, p in paths.items()]
        for one in tqdm(sent, "sending", delay=2):
            one.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _empty(s3: Any, bucket: str, root: str) -> int:
    """Delete all under an address; return how many files that were."""
    count = 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{root}/"):
        if keys := [{"Key": found["Key"]} for found in page.get("Contents", ())]:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})
            count += len(keys)
    return count


def _job(args: argparse.Namespace, name: str) -> dict[str, Any]:
    with _plainly(f"job {name}"):
        return dict(_client(args, "sagemaker").describe_training_job(TrainingJobName=name))


def _wait(args: argparse.Namespace, sagemaker: Any, every: float = 10) -> None:
    """Print the log until the job ends; Ctrl-C stops the job."""
    logs, seen, state = _client(args, "logs"), set[str](), "InProgress"
    where = {"logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamNamePrefix": f"{args.name}/"}
    try:
        while state in ("InProgress", "Stopping"):
            time.sleep(every)
            state = _job(args, args.name)["TrainingJobStatus"]
            with _plainly("the log"), suppress(logs.exceptions.ResourceNotFoundException):
                for page in logs.get_paginator("filter_log_events").paginate(**where):
                    for event in page["events"]:
                        if event["eventId"] not in seen:
                            print(visible(event["message"]))
                        seen.add(event["eventId"])
    except KeyboardInterrupt:
        sagemaker.stop_training_job(TrainingJobName=args.name)
        print(f"{args.name} is being stopped")
        raise
    _completed(args, args.name)


def _completed(args: argparse.Namespace, name: str) -> dict[str, Any]:
    job = _job(args, name)
    if job["TrainingJobStatus"] != "Completed":
        reason = job.get("FailureReason") or job.get("SecondaryStatus")
        raise MedimgError(f"job {name} has no result: {job['TrainingJobStatus']}, {reason}")
    return job


def _fetch(args: argparse.Namespace) -> None:
    """Bring network, card and report of a job back."""
    name = args.fetch_result
    model = _completed(args, name)["ModelArtifacts"]["S3ModelArtifacts"]
    bucket, _, key = model.removeprefix("s3://").partition("/")
    with tempfile.TemporaryFile() as packed:
        with _plainly(f"the result of {name}"):
            _client(args, "s3").download_fileobj(bucket, key, packed)
        packed.seek(0)
        print("\n".join(map(str, unpack_result(packed, Path(args.out)))))


def unpack_result(packed: Any, out: Path) -> list[Path]:
    """Unpack the files that a job writes, and no others, whatever an archive holds.

    Parameters
    ----------
    packed : file object
        A ``model.tar.gz``.
    out : Path
        A folder without such files.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    MedimgError
        When the archive is damaged, too large or holds no network, or a file is there already.
    """
    written, left = [], _LARGEST_RESULT
    try:
        with tarfile.open(fileobj=packed, mode="r:gz") as tar:
            for member in tar:
                name, left = PurePosixPath(member.name).as_posix(), left - member.size
                if left < 0:
                    raise MedimgError(f"the result holds over {_LARGEST_RESULT:,} bytes")
                if not member.isreg() or name not in _RESULTS:
                    continue
                if (out / name).exists():
                    raise MedimgError(f"{out / name} exists; choose another --out")
                with atomic_write(out / name) as file:
                    shutil.copyfileobj(tar.extractfile(member), file)  # type: ignore[arg-type]
                written.append(out / name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise MedimgError(f"the result is damaged ({error}); fetch it again") from error
    if out / "model.safetensors" not in written:
        raise MedimgError("the result holds no network; look at the job's log")
    return written


def _remove(args: argparse.Namespace) -> None:
    """Delete all that a job left in its bucket: data, code, checkpoints and result."""
    job = _job(args, args.remove)
    address = job["OutputDataConfig"]["S3OutputPath"].removesuffix("/output")
    if job["TrainingJobStatus"] in ("InProgress", "Stopping") or not address.endswith(args.remove):
        raise MedimgError(f"job {args.remove} still runs, or launch did not start it; all is left")
    bucket, _, root = address.removeprefix("s3://").partition("/")
    with _plainly(f"bucket {bucket}"):
        print(f"deleted {_empty(_client(args, 's3'), bucket, root)} files of {args.remove}")

"""Train in the cloud: a bill, one request to Amazon SageMaker, and the result brought back.

The tables beside this module (``cloud/*.csv``) hold prices, speeds, regions and remedies, each row
with the day on which it was looked up. To renew a price, change its row. ``cloud/request.txt`` is
the request, in which each ``$word`` is replaced by a value as JSON.
"""

import argparse
import json
import math
import os
import re
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import requires
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import pandas as pd

from medimg.commands.networks import learnable
from medimg.errors import MedimgError
from medimg.progress import tqdm
from medimg.storage import walk_files
from medimg.tables import visible
from medimg.training import FEW, recipe

_CLOUD = Path(__file__).with_name("cloud")
# Of November 2026; or --image.
_CONTAINER = "{}.dkr.ecr.{}.amazonaws.com/pytorch-training:2.9.0-{}-ubuntu22.04-sagemaker"
_DISK_USD = 0.14 / 730  # a GB of a job's disk per hour
_START, _STOP = 360, 120  # seconds: machine, container, packages; what a stopped job may still run
_COPIED = 0.2  # GB per second from S3 to a machine's disk: assumed, not measured


class Bill(NamedTuple):
    """What a training job will take, reckoned before it starts.

    Attributes
    ----------
    hours : dict of float
        Wall-clock hours by part: start, copy, decode, train (with validation and test).
    usd : float
        Dollars at the on-demand price; a spot machine never costs more.
    usd_per_hour : float
        Of all machines together, with their disks.
    memory_gb, disk_gb : float
        Memory and disk that each machine needs.
    basis : str
        Where price and speed come from.
    """

    hours: dict[str, float]
    usd: float
    usd_per_hour: float
    memory_gb: float
    disk_gb: int
    basis: str

    def __str__(self) -> str:
        parts = " + ".join(f"{part} {hours:.2f}" for part, hours in self.hours.items())
        return (
            f"bill: ${self.usd:.2f} = {sum(self.hours.values()):.2f} h ({parts}) at "
            f"${self.usd_per_hour:.2f}\nneeds {self.memory_gb:.0f} GB of memory and {self.disk_gb} "
            f"GB of disk on {self.basis}"
        )


def bill(
    images: int, *, instance: str = "ml.g5.xlarge", count: int = 1, epochs: int | None = None,
    size: int = 224, megapixels: float = 1.0, usd_per_hour: float | None = None,
    region: str = "us-east-1", frozen: bool = False,
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
    frozen : bool
        Whether only the head is solved.

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
    row = prices.get(instance, {})
    if not row or (usd_per_hour is None and region != row["region"]):
        raise MedimgError(
            f"no price of {instance} in {region} is known; choose one of {', '.join(prices)}; "
            "outside us-east-1 give --usd-per-hour, from Amazon's page of SageMaker prices"
        )
    gpus, here = row["gpus"], speeds[row["processor"]]
    networks = count * (gpus or row["vcpus"]) * (224 / size) ** 2
    forward, backward = passes(images, epochs, frozen)
    stored = images * megapixels * 0.4e6 / 1e9  # as a PNG, 0.4 bytes per pixel
    seconds = {
        "start": _START, "copy": stored / _COPIED,  # every machine copies and decodes all
        "decode": images * megapixels / (row["vcpus"] * speeds["vcpu"]["decode_megapixels"]),
        "train": (forward / here["predict_images"] + backward / here["train_images"]) / networks,
    }  # fmt: skip
    disk = math.ceil(20 + stored + images * 3 * size**2 / 1e9)
    memory = 2 + 3 * max(1, gpus) * (size / 224) ** 2  # benchmarks/results/engine_scaling.md
    if memory > row["memory_gb"] or disk > (row["local_gb"] or 16_000):
        raise MedimgError(f"{instance} is too small: give {memory:.0f} GB memory, {disk} GB disk")
    hourly = count * ((usd_per_hour or row["usd_per_hour"]) + disk * _DISK_USD)
    price = "yours" if usd_per_hour else f"{row['checked']}, {row['source']} ({row['region']})"
    basis = f"{count} x {instance}; price: {price}; speed: {here['basis']}, {here['checked']}"
    hours = {part: value / 3600 for part, value in seconds.items()}
    return Bill(hours, sum(hours.values()) * hourly, hourly, memory, disk, basis)


def passes(images: int, epochs: int | None = None, frozen: bool = False) -> tuple[float, float]:
    """Return how many images pass a network forward, and how many train it, until it is tested.

    Parameters
    ----------
    images : int
        Images in all; 70 % train, 15 % validate, 15 % test.
    epochs : int, optional
        By default those of `recipe`; the first one only solves the head.
    frozen : bool
        Whether it solves the head and leaves it at that, as `fit` does by itself with few images.

    Returns
    -------
    tuple of float
        Passes forward, and training passes, in images of full size.
    """
    settings = recipe(max(2, round(0.7 * images)))
    frozen = frozen or (epochs is None and 0.7 * images < FEW)
    steps = 0 if frozen else (epochs or settings.epochs) - 1
    sides = settings.sizes or (1.0,)
    forward = 0.7 + 0.15 * (steps + 1) + 2 * 0.15 * (4 if settings.tta else 1)
    return images * forward, images * 0.7 * steps * sum(s**2 for s in sides) / len(sides)


def _table(name: str) -> dict[Any, dict[Any, Any]]:
    """Return the rows of a table by their first column."""
    return pd.read_csv(_CLOUD / f"{name}.csv", index_col=0).to_dict("index")


def launch(args: argparse.Namespace) -> None:
    """Train on Amazon SageMaker: print the bill, send code and data, start the job."""
    usual = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
    args.region = args.region or os.environ.get("AWS_REGION", usual)
    if args.fetch_result:
        with _amazon(args) as amazon:
            _fetch(args, amazon)
        return
    args.data, fit, studio = args.data or "", args.fit_settings, _studio()
    args.tag = [*studio.pop("tag", ()), *args.tag]
    vars(args).update({k: v for k, v in studio.items() if not vars(args)[k]})
    args.name = args.name or f"medimg-{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(2).hex()}"
    _check(args, fit)
    found = bill(
        args.images, instance=args.instance, count=args.count, epochs=fit.epochs,
        size=fit.image_size, megapixels=args.megapixels or 1, usd_per_hour=args.usd_per_hour,
        region=args.region, frozen=fit.strategy == "frozen",
    )  # fmt: skip
    print(found)
    if found.usd > args.max_usd:
        raise MedimgError(f"this is above --max-usd {args.max_usd:g}; nothing was started")
    asked = request(args, found)
    if args.dry_run:
        print(f"{json.dumps(asked, indent=1)}\nnothing was sent")
        return
    if not (args.role and args.bucket):
        raise MedimgError("--role or --bucket is missing: who runs the job, where its files lie")
    with _amazon(args) as amazon:
        _start(args, asked, amazon)


def _check(args: argparse.Namespace, fit: argparse.Namespace) -> None:
    """Refuse what would fail in the job, before it costs anything; count the images of a folder."""
    if not (here := os.path.isdir(args.data)) and not (args.data[:5] == "s3://" and args.images):
        raise MedimgError(f"--data '{args.data}': give a folder or s3://BUCKET/PREFIX and --images")
    if not re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", args.name):
        raise MedimgError(f"--name {args.name}: give up to 63 letters, digits and hyphens")
    if fit.weights or (args.wheels and not os.path.isdir(args.wheels)):
        raise MedimgError("--weights is not sent, and --wheels is a folder; correct these")
    for name in ("data", "image_dir"):  # places in the folder; the job has it elsewhere
        if inside := vars(fit)[name]:
            args.fit += [f"--{name.replace('_', '-')}", f"/opt/ml/input/data/training/{inside}"]
            vars(fit)[name] = os.path.join(args.data, inside)
    if here:
        fit.data = fit.data or args.data
        found, files = len(learnable(fit)[0]), walk_files(args.data).files  # as the job will
        stored, args.images = sum(map(os.path.getsize, files)), args.images or found
        args.megapixels = args.megapixels or stored / found / 0.4e6


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
    row, region, accounts = _table("instances")[args.instance], args.region, _table("regions")
    if region not in accounts and not args.image:
        raise MedimgError(f"no container is known in region {region}; give one with --image")
    kind = "gpu-py312-cu130" if row["gpus"] else "cpu-py312"
    root, on_spot = "s3://" + "/".join(_place(args)), not args.on_demand
    seconds = min(int(args.max_usd / found.usd_per_hour * 3600) - _STOP, 28 * 86_400)
    tags = {"project": "medimg"} | dict(tag.partition("=")[::2] for tag in args.tag)
    words = {
        "name": args.name, "role": args.role or "arn:aws:iam::000000000000:role/YOUR-ROLE",
        "image": args.image or _CONTAINER.format(accounts[region]["account"], region, kind),
        "options": args.fit or None, "gpus": str(row["gpus"]), "key": args.kms_key or None,
        "data": (args.data if args.data.startswith("s3://") else f"{root}/data").rstrip("/") + "/",
        "code": f"{root}/code/", "output": f"{root}/output", "checkpoints": f"{root}/checkpoints",
        "disk_key": None if row["local_gb"] else args.kms_key,  # Amazon refuses one for local disks
        "instance": args.instance, "count": args.count, "disk": found.disk_gb,
        "spot": on_spot, "seconds": seconds, "wait": seconds if on_spot else None,
        "isolated": bool(args.wheels or args.image), "token": os.urandom(8).hex(),
        "tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }  # fmt: skip
    text = Template((_CLOUD / "request.txt").read_text(encoding="utf-8"))
    filled = text.substitute({word: json.dumps(value) for word, value in words.items()})
    # A field without a value is left out, as Amazon asks.
    return dict(json.loads(filled, object_hook=lambda d: {k: d[k] for k in d if d[k] is not None}))


def _place(args: argparse.Namespace) -> tuple[str, str]:
    """Return the bucket, and the folder in it under which all of a job lies."""
    bucket, _, folder = (args.bucket or "YOUR-BUCKET").removeprefix("s3://").partition("/")
    return bucket, "/".join(filter(None, (folder.strip("/"), "medimg", args.name)))


@contextmanager
def _amazon(args: argparse.Namespace) -> Iterator[Callable[[str], Any]]:
    """Yield what makes Amazon's clients; turn what they raise into one line with a way out."""
    try:
        import boto3
        from boto3.exceptions import Boto3Error
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        patience = Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 3})
        yield lambda name: boto3.client(name, region_name=args.region, config=patience)
    except ImportError as error:
        raise MedimgError("launch needs boto3; install it: pip install 'medimg[aws]'") from error
    except (Boto3Error, BotoCoreError, ClientError) as error:
        fixes = (row["fix"] for seen, row in _table("fixes").items() if re.search(seen, str(error)))
        raise MedimgError(f"{error}; {next(fixes, 'see the message')}") from error


def _start(args: argparse.Namespace, asked: dict[str, Any], amazon: Callable[[str], Any]) -> None:
    """Send code and data, start the job; after a failure nothing runs and nothing is left.

    Each request bears a mark of its own, so that only the job that it started is ever stopped.
    """
    s3, sagemaker, (bucket, folder) = amazon("s3"), amazon("sagemaker"), _place(args)
    jobs = sagemaker.get_paginator("list_training_jobs").paginate(NameContains=args.name)
    files = s3.list_objects_v2(Bucket=bucket, Prefix=f"{folder}/", MaxKeys=1)["KeyCount"]
    if files or args.name in jobs.search("TrainingJobSummaries[].TrainingJobName"):
        raise MedimgError(f"job {args.name} exists, or its files do; choose another --name")
    source, _, prefix = f"{args.data.rstrip('/')}/".partition("s3://")[2].partition("/")
    if source and not s3.list_objects_v2(Bucket=source, Prefix=prefix, MaxKeys=1)["KeyCount"]:
        raise MedimgError(f"nothing is at --data {args.data}; correct the address")
    for name in filter(None, (bucket, source)):
        there = s3.head_bucket(Bucket=name).get("BucketRegion", args.region)
        if there != args.region:
            raise MedimgError(f"bucket {name} is in {there}, not in {args.region}; change --region")
    blocked = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    if sum(blocked.values()) < 4:
        raise MedimgError(f"bucket {bucket} may be made public; switch its Block Public Access on")
    with tempfile.TemporaryDirectory() as scratch:
        paths = {f"{folder}/{key}": path for key, path in _files(args, Path(scratch)).items()}
        try:
            _send(s3, bucket, paths, args.kms_key)
            sagemaker.create_training_job(**asked)
        except BaseException:
            with suppress(Exception):  # the answer may be lost, and the job started
                job = sagemaker.describe_training_job(TrainingJobName=args.name)
                if job["HyperParameters"] == asked["HyperParameters"]:  # no colleague's
                    sagemaker.stop_training_job(TrainingJobName=args.name)
            with suppress(Exception):
                keys = [{"Key": key} for key in paths]
                for at in range(0, len(keys), 1000):  # Amazon takes no more at once
                    s3.delete_objects(Bucket=bucket, Delete={"Objects": keys[at : at + 1000]})
            raise
    print(f"started {args.name}; when it is done: medimg launch --fetch-result {args.name}, "
          f"then delete its files: aws s3 rm --recursive s3://{bucket}/{folder}")  # fmt: skip
    if args.wait:
        _wait(args, amazon)


def _files(args: argparse.Namespace, scratch: Path) -> dict[str, Path]:
    """Return all that a job needs by its place: the package, its start, wheels and data."""
    package = Path(__file__).parents[1]
    shutil.make_archive(str(scratch / "medimg"), "gztar", package.parent, package.name)
    unneeded = re.compile("extra ==|^(jupyter|nbconvert|ipywidgets)")
    lacking = [name for name in requires("medimg") or () if not unneeded.search(name)]
    (scratch / "requirements.txt").write_text("\n".join(lacking), encoding="utf-8")
    shutil.copy(package / "commands" / "container.py", scratch)
    found = {f"code/{path.name}": path for path in scratch.iterdir()}
    for path in walk_files(args.wheels).files if args.wheels else ():
        if not re.match("torch|nvidia|triton|cuda", path.name):  # the container has these
            found[f"code/wheels/{path.name}"] = path
    for path in walk_files(args.data).files:  # none of an address in S3
        found[f"data/{path.relative_to(args.data).as_posix()}"] = path
    return found


def _send(s3: Any, bucket: str, paths: dict[str, Path], key: str | None) -> None:
    """Upload files, several at once, encrypted with the user's key or Amazon's."""
    from boto3.s3.transfer import TransferConfig, create_transfer_manager

    how = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else None
    how = how or {"ServerSideEncryption": "AES256"}
    with create_transfer_manager(s3, TransferConfig()) as manager:  # an error ends all transfers
        sent = [manager.upload(str(path), bucket, name, how) for name, path in paths.items()]
        for one in tqdm(sent, "sending", delay=2):
            one.result()


def _wait(args: argparse.Namespace, amazon: Callable[[str], Any]) -> None:
    """Print the log until the job ends; Ctrl-C stops the job."""
    logs, sagemaker, seen, state = amazon("logs"), amazon("sagemaker"), set[str](), "InProgress"
    where = {"logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamNamePrefix": f"{args.name}/"}
    try:
        while state in ("InProgress", "Stopping"):
            time.sleep(10)
            state = sagemaker.describe_training_job(TrainingJobName=args.name)["TrainingJobStatus"]
            with suppress(logs.exceptions.ClientError):  # no log yet, or no right to read it
                for page in logs.get_paginator("filter_log_events").paginate(**where):
                    for event in page["events"]:
                        if event["eventId"] not in seen:
                            print(visible(event["message"]))
                        seen.add(event["eventId"])
    except KeyboardInterrupt:
        sagemaker.stop_training_job(TrainingJobName=args.name)
        raise
    except Exception:
        print(f"still running? aws sagemaker stop-training-job --training-job-name {args.name}")
        raise
    _completed(args.name, amazon)


def _completed(name: str, amazon: Callable[[str], Any]) -> dict[str, Any]:
    """Return what Amazon says of a job that has come to its end."""
    job = amazon("sagemaker").describe_training_job(TrainingJobName=name)
    if job["TrainingJobStatus"] != "Completed":
        reason = job.get("FailureReason") or job.get("SecondaryStatus")
        raise MedimgError(f"job {name} has no result: {job['TrainingJobStatus']}, {reason}")
    return dict(job)


def _fetch(args: argparse.Namespace, amazon: Callable[[str], Any]) -> None:
    """Bring network, card and report of a job back: all or nothing, and nothing elsewhere."""
    out = Path(args.out or f"runs/{args.fetch_result}")
    if out.exists():
        raise MedimgError(f"{out} exists already; choose another --out")
    model = _completed(args.fetch_result, amazon)["ModelArtifacts"]["S3ModelArtifacts"]
    bucket, _, key = model.removeprefix("s3://").partition("/")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        packed, result = Path(scratch, "packed"), Path(scratch, "result")
        amazon("s3").download_file(bucket, key, str(packed))
        try:
            shutil.unpack_archive(packed, result, "gztar", filter="data")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise MedimgError(f"the result is damaged ({error}); fetch it again") from error
        result.rename(out)
    print(f"wrote {out}")

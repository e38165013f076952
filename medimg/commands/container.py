"""Run inside a training container: install what it lacks, join the machines, train and test.

`launch` uploads this file beside the code. It runs before medimg is installed, so it imports the
standard library only. The folders come from the ``SM_*`` variables of the job; `fit` writes where
Amazon keeps checkpoints while the job runs, so that one which was interrupted goes on from there.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path


def main(options: list[str]) -> None:
    """Train with the given options of ``medimg fit``; the first machine then tests the network.

    Parameters
    ----------
    options : list of str
        As on the command line of ``medimg fit``.
    """
    code, work = Path(os.environ["SM_CHANNEL_CODE"]), tempfile.mkdtemp()
    with tarfile.open(code / "medimg.tar.gz") as tar:
        tar.extractall(work, filter="data")
    wheels = code / "wheels"  # a container without a network installs from these
    source = ["--no-index", "--find-links", str(wheels)] if wheels.is_dir() else []
    install = ["pip", "install", *source, "-r", str(code / "requirements.txt")]
    subprocess.run([sys.executable, "-m", *install], check=True)
    os.environ["PYTHONPATH"] = work
    cluster = Path(os.environ["SM_INPUT_CONFIG_DIR"], "resourceconfig.json").read_bytes()
    hosts, here = sorted(json.loads(cluster)["hosts"]), json.loads(cluster)["current_host"]
    gpus, medimg, run = int(os.environ["SM_NUM_GPUS"]), ["medimg"], [sys.executable, "-m"]
    if max(gpus, len(hosts)) > 1:
        where = [f"--node_rank={hosts.index(here)}", f"--master_addr={hosts[0]}"]
        many = [f"--nnodes={len(hosts)}", f"--nproc_per_node={max(gpus, 1)}"]
        medimg = ["torch.distributed.run", *many, *where, "--master_port=29500", "-m", "medimg"]
    data, saved = os.environ["SM_CHANNEL_TRAINING"], os.environ["SM_CHECKPOINT_DIR"]
    # The last one counts: the options may name a table in the folder.
    fit = ["--data", data, *options, "--resume", "--cache", f"{work}/cache", "--out", saved]
    subprocess.run([*run, *medimg, "fit", *fit], check=True)
    if here == hosts[0]:  # a set without test images is no reason to lose the network
        result, model = os.environ["SM_MODEL_DIR"], f"{saved}/model.safetensors"
        unneeded = shutil.ignore_patterns(".*", "checkpoint.pt", "features-*")
        shutil.copytree(saved, result, ignore=unneeded, dirs_exist_ok=True)
        test = ["evaluate", "--model", model, "--out", f"{result}/evaluation"]
        subprocess.run([*run, "medimg", *test], check=False)


if __name__ == "__main__":
    main(sys.argv[1:])

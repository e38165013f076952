# %% [markdown]
# # 11. Scale: when a laptop is enough, and what a cloud costs
#
# {{badges}}
#
# **You will be able to**
#
# - say how training time grows, and predict it for a set that you do not have yet;
# - decide whether a second process, or a rented GPU, is worth it;
# - read the bill and the request of a training job before it starts;
# - name what protects patient images in a cloud, and what a score does to its reader.
#
# **You need first:** [1. Load](/notebooks/01_load.ipynb) and [3. Fine-tune](/notebooks/03_finetune.ipynb).
#
# {{contract}}
#
# {{solutions}}

# %% [markdown]
# ## 1. Do you need more than a laptop?
#
# Everything in this course runs on two processor cores, because a pretrained network is reused and the
# sets are small. Hospitals have more images. Before you rent a machine, answer three questions: how long
# would it take on yours? What would the other machine cost? May the images leave the building?

# %%
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from medimg import datasets, exercises, models, plots, training
from medimg.commands.launch import bill, passes

# %% [markdown]
# ## 2. How time grows
#
# Training has two parts. **Decoding** reads each file once and makes the image small. **Passes** then send
# each image through the network, again in every epoch. We time both on parts of the sample, with twice as
# many images each time. (With few images, fixed costs make each one look expensive: read the last rows.)

# %%
studies = datasets.load("sample").query("split == 'train'")
net = models.build_model("efficientnet_lite0")
rows = []
training.run_model(net, datasets.decode(studies.head(4), size=128).images)  # warm up, untimed
for count in (8, 16, 32, 64):
    begin = time.perf_counter()
    part = datasets.decode(studies.head(count), size=128, allow_duplicates=True)
    middle = time.perf_counter()
    training.run_model(net, part.images)
    rows.append((count, middle - begin, time.perf_counter() - middle))
times = pd.DataFrame(rows, columns=["images", "decode", "one pass"]).set_index("images")
times.round(2)

# %%
per_image = 1000 * times.div(times.index, axis=0)
per_image.round(1).add_suffix(", ms per image")

# %% [markdown]
# Your seconds are those of your machine, but the rule is general: **time is images divided by images per
# second**. The network's memory does not grow with their number; the images need 50 kB each at 224 pixels
# (section 4). So a small run predicts a large one: `benchmarks/throughput.py` measures 100 and 300 images,
# subtracts the start-up time, and predicts 500 to 5,000 to within 15 % (`benchmarks/results/throughput.md`).
#
# Pixels count as images do: twice the side is four times the pixels, and about four times the time. And
# one image passes many times. This is what `python -m medimg fit` does with 10,000 images, of which 7,000
# are for training:

# %% tags=["nbval-check-output"]
forward, backward = passes(10_000)
print(f"forward only: {forward:,.0f} images; forward and backward: {backward:,.0f} images")

# %% [markdown]
# Forward: the training images once, for the head; the validation images after each of seven epochs; then
# validation and test images in four variants each. Backward: the training images in six epochs, the early
# ones with smaller images, so they count for less.
#
# The backward pass, which computes gradients, makes an image three to seven times as expensive on our two
# processors, and fine-tuning repeats it in every epoch. A frozen network needs each image once, forward.
#
# **Predict first:** you halve the side of the images and double their number. What happens to the time?

# %% tags=["nbval-check-output"]
small, large = (bill(count, instance="ml.m5.xlarge", size=size)
                for count, size in ((20_000, 112), (10_000, 224)))
ratio = small.hours["train"] / large.hours["train"]
print(f"training time, small against large images: {ratio:.2f}")

# %% [markdown]
# Half: each image has a quarter of the pixels, and there are twice as many.
#
# ## 3. What a second process brings
#
# `torchrun` starts the same program several times. Each process takes its part of every batch, and after
# each step all average their gradients, so that all networks stay equal. The command is the same: `fit`
# sees that it is one of several. We fit the sample with one process and with two.

# %%
def fitted(processes, out):
    """Fit the sample with several processes; return seconds and validation loss."""
    job = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    fit = ["medimg", "fit", "--data", "sample", "--size", "48", "--strategy", "head_then_all"]
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", *job, "-m", *fit, "--epochs", "2", "--out", out],
                   env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, check=True)
    return time.perf_counter() - begin, pd.read_csv(f"{out}/history.csv")["val_loss"].iloc[-1]


folder = Path(tempfile.mkdtemp())
runs = {n: fitted(n, str(folder / str(n))) for n in (1, 2)}

# %%
for n, (seconds, loss) in runs.items():
    print(f"{n} process(es): {seconds:.0f} s, validation loss {loss:.2f}")

# %% [markdown]
# Within a run all copies are equal. Each process draws its own dropout, so the two losses differ. The time
# need not fall: starting Python and reading the images is not divided, and here it is most of the work,
# so two processes may even be slower; four processes on two cores cannot gain over two
# (`benchmarks/results/engine_ddp.md` has 1, 2 and 4). On a large set with one core or one GPU for each process, the passes
# are divided nearly evenly. **More machines pay when the passes dominate.**
#
# ## 4. Images that do not fit into memory
#
# A decoded image of 224 × 224 pixels takes 50 kB as bytes. A laptop with 8 GB holds about 100,000. Beyond
# that, `decode` with a `cache` writes them into one file and *maps* it: the array looks as usual, and the
# operating system reads only the pages that a batch touches.

# %% tags=["nbval-check-output"]
mapped = datasets.decode(studies, size=128, cache=folder / "cache", allow_duplicates=True)
in_memory = datasets.decode(studies, size=128, allow_duplicates=True)
print("a file behind the array:", isinstance(mapped.images, np.memmap))
print("the same images:", np.array_equal(mapped.images, in_memory.images))

# %% [markdown]
# `benchmarks/bigger_than_memory.py` trains in this way under a limit that the kernel sets to the process's
# own memory, and tries the same without the file.
#
# ## 5. The bill for four published sets
#
# Four public sets of chest radiographs, from 5,856 images to 377,110; the second number below is the size
# of their files in megapixels. `bill` does the arithmetic of section 2 with a table of speeds and a table of
# prices. Each row has its day and source: prices change. The speeds of GPUs are published figures
# for a similar card, scaled down. Those of processors come from a newer Xeon than this machine has; on an
# older one NIH would be cheaper with the GPUs. So measure your own before you trust an hour.

# %% tags=["nbval-check-output"]
SETS = {"Kermany (children)": (5_856, 1.3), "NIH ChestX-ray14": (112_120, 1.05),
        "CheXpert, small": (224_316, 0.12), "MIMIC-CXR-JPG": (377_110, 7.5)}
MACHINES = {"8 processors": "ml.m5.2xlarge", "4 GPUs": "ml.g5.12xlarge"}
table = {}
for name, (count, megapixels) in SETS.items():
    for machine, instance in MACHINES.items():
        found = bill(count, instance=instance, megapixels=megapixels)
        table[name, machine] = {"hours": sum(found.hours.values()), "dollars": found.usd,
                                "disk, GB": found.disk_gb, "memory, GB": found.memory_gb}
prices = pd.DataFrame(table).T
prices.round(2)

# %% tags=["nbval-check-output"]
hours = prices["hours"].unstack().loc[list(SETS)[::-1], list(MACHINES)]  # the first set on top
figure, axes = plt.subplots(figsize=(6.4, 2.4), layout="constrained")
for (machine, each), mark in zip(hours.items(), "os", strict=True):
    axes.plot(each, each.index, mark, label=machine)
axes.set(xscale="log", xlabel="hours for one fit (logarithmic)")
axes.grid(alpha=0.3, axis="x")
axes.legend()
times = hours.iloc[:, 0] / hours.iloc[:, 1]
plots.show(figure, alt="Hours of one fit: on the GPUs, "
           f"{times.min():.1f} to {times.max():.1f} times less.")

# %% tags=["nbval-check-output"]
cheaper = prices["dollars"].unstack().loc[list(SETS)].idxmin(axis=1)
print(cheaper.to_string())

# %% [markdown]
# A fit of the children's radiographs costs less than a coffee on either machine: **a laptop is enough**. The
# GPU machine is faster on all four sets, but cheaper only where passes dominate. For the largest set on that
# machine, copying and decoding the files take longer than training, and a GPU helps with neither. So decode
# once, keep the small images, and rent the GPU for the passes. The bill is for one fit. Ten trials cost ten
# bills.
#
# ## 6. Your own bill
#
# ### Exercise: one fit of 40,000 images
#
# A hospital has 40,000 radiographs of 4 megapixels. How many dollars does one fit cost on one
# `ml.g5.2xlarge`, with images of 320 pixels for the network?

# %% tags=["exercise"]
# solution: begin
# blank: dollars = ...
dollars = bill(40_000, instance="ml.g5.2xlarge", size=320, megapixels=4).usd
# solution: end
exercises.check("11-bill", dollars, bill=bill)
# exercises.hint("11-bill")  # remove the first # to see a hint

# %% [markdown]
# ### Exercise: from which size on?
#
# Draw the dollars of one fit against the number of images, from 1,000 to 1,000,000 (of one megapixel,
# the default), for both machines in `MACHINES`: two lines, both axes logarithmic, with a legend and names
# on the axes. Submit the axes. From about which size on are the GPUs cheaper?

# %% tags=["exercise"]
# solution: begin
counts = np.geomspace(1_000, 1_000_000, 13).round().astype(int)
curves = {machine: [bill(int(count), instance=instance).usd for count in counts]
          for machine, instance in MACHINES.items()}
ax = pd.DataFrame(curves, index=counts).plot(logx=True, logy=True, figsize=(5, 3))
ax.set(xlabel="images", ylabel="dollars for one fit")
plots.show(ax.figure, alt="Dollars against images: both lines rise together, the GPUs' lower for "
           "large sets.")
# blank: ax = ...
# solution: end
exercises.check("11-cross", ax, bill=bill, machines=MACHINES)
# exercises.hint("11-cross")  # remove the first # to see a hint

# %% [markdown]
# ## 7. A job, before it starts
#
# `python -m medimg launch` sends code and images to Amazon and starts a training job. It prints the bill
# first and refuses one above `--max-usd`. With `--dry-run` it stops there: no account, nothing sent. We
# ask for five epochs, and for a machine that may be taken away (a *spot* machine, which costs less).

# %% tags=["nbval-check-output"]
images = str(Path(studies["path"].iloc[0]).parents[2])  # FOLDER/split/class/file
options = ["--name", "trial", "--max-usd", "5", "--images", "5856", "--dry-run"]
told = subprocess.run([sys.executable, "-m", "medimg", "launch", "--data", images, *options,
                       "--", "--epochs", "5"],
                      capture_output=True, encoding="utf-8", check=True).stdout
request = json.loads(told[told.index("\n{"):told.rindex("}") + 1])
print(next(line for line in told.splitlines() if line.startswith("bill")))

# %% tags=["nbval-check-output"]
limit = request["StoppingCondition"]["MaxRuntimeInSeconds"] / 3600
print(f"ended after {limit:.1f} h at the latest, whatever happens")
for name in ("EnableManagedSpotTraining", "EnableInterContainerTrafficEncryption",
             "EnableNetworkIsolation"):
    print(name, request[name])
print(request["CheckpointConfig"]["S3Uri"])

# %% [markdown]
# The limit in hours follows from the limit in dollars, so a job that hangs does not cost more, if the price
# is right; files in S3 cost extra until deleted. (We tested `launch` against a server of our own, never on
# Amazon.) After each epoch a checkpoint goes to the folder in the last line. If the spot machine is taken
# away, the job starts again from there, as `fit --resume` does on your laptop.
#
# A colleague has edited such a request by hand and saved it.

# %% tags=["hide-input", "nbval-check-output"]
path = folder / "request.json"
edited = request | {"TrainingJobName": "trial-anna-muster-1967",
                    "EnableInterContainerTrafficEncryption": False}
edited["StoppingCondition"] = dict.fromkeys(request["StoppingCondition"], 5 * 24 * 3600)
_ = path.write_text(json.dumps(edited, indent=1), encoding="utf-8")
print(f"{path.name}: {len(edited)} entries")

# %% [markdown]
# ### Exercise: a request that is wrong
#
# Amazon would accept `request.json`, but **three** entries are wrong. One may cost far more than five
# dollars. One sends images from machine to machine unencrypted. One names a patient where every log and bill
# shows it. Read the file with `json.loads(path.read_text())`, mend the dictionary, and submit it.

# %% tags=["exercise"]
# solution: begin
mended = json.loads(path.read_text(encoding="utf-8"))
mended["TrainingJobName"] = "trial"
mended["EnableInterContainerTrafficEncryption"] = True
mended["StoppingCondition"] = request["StoppingCondition"]
# blank: mended = ...  # the dictionary, with three entries changed
# solution: end
exercises.check("11-request", mended, request=request)
# exercises.hint("11-request")  # remove the first # to see a hint

# %% [markdown]
# ## 8. Patient images in a cloud
#
# | question | what answers it |
# |---|---|
# | May they go there? | your institution, in writing. Under HIPAA a provider that stores patient data is a business associate and needs an agreement (BAA), even if it cannot decrypt them ([HHS on cloud computing](https://www.hhs.gov/hipaa/for-professionals/special-topics/health-information-technology/cloud-computing/index.html)); under the GDPR, a contract by [its Article 28](https://gdprhub.eu/index.php?title=Article_28_GDPR) |
# | Must they be recognisable? | usually not: `medimg deidentify` first ([notebook 6](/notebooks/06_ethics.ipynb)); `launch` sends files as they are |
# | Where do they lie? | in the region of the bucket; choose the one that your agreement names |
# | Who can read them? | the people whom your administrator allows; `launch` refuses a bucket that may be made public |
# | What if a disk is stolen? | all is encrypted; `--kms-key` adds your key, but not on a disk that is built in (g4dn, g5) |
# | Can the code send them on? | not with `EnableNetworkIsolation`: give `--wheels` or `--image`, so that nothing must be installed |
# | When are they gone? | when you delete them: `launch` prints the command that empties the job's folder; old versions, logs and your own data stay |
#
# The request above has no network isolation: `EnableNetworkIsolation False`. The dry run told us
# before any image had left.
#
# ### Exercise: before the first image leaves
#
# Besides encryption, which of these are needed before images of patients go to a cloud?
#
# - a: the institution's agreement with the provider
# - b: a GPU
# - c: de-identification, or a written reason why not
# - d: a region that the agreement allows

# %% tags=["exercise"]
# solution: begin
# blank: needed = ...
needed = ["a", "c", "d"]
# solution: end
exercises.check("11-cloud", needed)
# exercises.hint("11-cloud")  # remove the first # to see a hint

# %% [markdown]
# ## 9. What goes back to the radiologist
#
# A score in a notebook helps nobody. Radiologists read on the screens of the hospital's image archive
# (PACS), which shows DICOM. So a result goes back as DICOM, and says what it is not. A **structured
# report** holds the score, the threshold and how it was chosen, the intended use, and the program with its
# version. A **secondary capture** is a picture that no scanner made: here, of a heat map. Both name the
# image that they belong to.
#
# The reader changes, too. In a study 27 radiologists read 50 mammograms beside suggestions that were said
# to come from an AI. Where these were wrong, the radiologists' accuracy fell sharply, at every level of
# experience ([RSNA, 2023](https://press.rsna.org/timssnet/media/pressreleases/14_pr_target.cfm?ID=2432)).
# This is **automation bias**. It is a reason to let people read first and see the score second, to show
# how often the system is wrong, and to test the pair of reader and system instead of the system alone.
#
# ## 10. Clean up
#
# In a cloud the last step is part of the work. Fetch the result, delete the job's files, and look at the
# bill of the month. Here we delete our own temporary folder.

# %% tags=["nbval-check-output"]
import shutil

del mapped
shutil.rmtree(folder)
print("left behind:", folder.exists())

# %% [markdown]
# ## Key points
#
# - Time is images times passes, divided by images per second. Measure a few hundred, then multiply.
# - For some thousand images and a pretrained network, a laptop is enough.
# - A second process divides the passes and nothing else.
# - Read the bill and the request before a job starts, and let a limit in dollars end it.
# - Encryption is the smaller part of protection: permission, de-identification, region and deletion come
#   first.
# - A score changes its reader. Test both together.
#
# ## Further reading
#
# - Wang et al., [*ChestX-ray8*](https://doi.org/10.1109/CVPR.2017.369), CVPR 2017
# - Irvin et al., [*CheXpert*](https://arxiv.org/abs/1901.07031), AAAI 2019
# - Johnson et al., [*MIMIC-CXR*](https://doi.org/10.1038/s41597-019-0322-0), Scientific Data 2019
#
# ## Next step
#
# [12. Your study](/notebooks/12_your_study.ipynb): a study of your own, from the protocol to the report.

# %% [markdown]
# # 6. Ethics: privacy, fairness, validation and the law
#
# {{badges}}
#
# **You will be able to**
#
# - de-identify DICOM files and verify the result;
# - measure whether a network works equally well for all groups, and what reduces a gap;
# - distinguish kinds of validation, and plan the number of patients;
# - find the rules in the United States and European Union;
# - write a model card and a dataset card.
#
# **You need first:** [quickstart](/quickstart.ipynb), and sensitivity, thresholds and intervals from
# [4. Evaluate](/notebooks/04_evaluate.ipynb).
#
# {{contract}}
#
# {{solutions}}

# %%
import hashlib
import logging
import re
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

# %%
import pydicom

from medimg import datasets, deid, exercises, images
from medimg import metrics, models, plots, reports, training

work = Path(tempfile.mkdtemp())  # for the output of this notebook; deleted at the end

# %% [markdown] tags=["notes"]
# Ask first: what in a radiograph's file could identify the patient? Collect answers.

# %% [markdown]
# ## 1. Whose image is this?
#
# Before an image leaves the hospital for research or teaching, it should be de-identified. The sample's
# people are invented; its DICOM headers are filled in as in hospitals.
#
# Which of these lines could identify a person?

# %% tags=["nbval-check-output"]
sample = datasets.load("sample")
film = sample.iloc[0]
header = images.read_header(film["dicom_path"])
telling = ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyDate"]
telling += ["AccessionNumber", "InstitutionName", "ReferringPhysicianName", "OperatorsName"]
telling += ["DeviceSerialNumber", "KVP"]
for name in telling:
    print(f"{name:24} {header.get(name)}")

# %% [markdown]
# Nearly all. The name does it directly, record and accession numbers through the hospital's system, the
# others *together*: how many people of that age and sex had a chest radiograph in that clinic on that
# day? Only the tube voltage (KVP) identifies nobody.
#
# - **United States.** HIPAA allows two ways to de-identify (45 CFR 164.514). *Safe Harbor*: eighteen
#   kinds of identifiers are removed, and the covered entity (such as the hospital) has no actual
#   knowledge that what is left could identify the person. *Expert determination*: a statistical expert
#   determines and documents that the risk is very small. DICOM has its own list (PS3.15, Annex E).
# - **European Union.** Pseudonymised data are personal data for anyone who holds the key (GDPR, Article
#   4(5), Recital 26). For a recipient, it depends on whether they could reasonably identify the person
#   (Court of Justice, C-413/23 P, EDPS v SRB, 4 September 2025; decided under Regulation 2018/1725, the
#   parallel law for EU institutions). With images of the body, do not rely on that.
# - **Permission.** Ask your ethics committee whether patients must consent. In the EU, health data need
#   a legal basis (GDPR, Articles 6 and 9; consent is one of several). Large-scale use first needs a data
#   protection impact assessment (DPIA, Article 35).
#
# ### Why a quick script is not enough
#
# We overwrite `PatientName` in a file that has the name again in a *sequence* (a list inside the header)
# within another sequence.

# %%
nested = pydicom.dcmread(film["dicom_path"])
patient, request = pydicom.Dataset(), pydicom.Dataset()
patient.PatientName = header.PatientName
request.ReferencedPatientSequence = [patient]
nested.RequestAttributesSequence = [request]  # the name is now two levels deep as well
nested.save_as(work / "nested.dcm")

quick = pydicom.dcmread(work / "nested.dcm")  # the quick script:
quick.PatientName, quick.PatientID = "ANONYMOUS", "0001"

# %% [markdown]
# Now search the whole header as text for the family name, which DICOM writes before the `^`.

# %% tags=["nbval-check-output"]
family = str(header.PatientName).split("^")[0]
hits = [line for line in str(quick).splitlines() if family in line]
print("left at the top level:", family in str(quick.PatientName))
print("left anywhere:        ", len(hits))
for line in hits:
    print(re.sub(r"\s+", " ", line))

# %% [markdown]
# The name is still in the file. Names also hide in vendors' *private elements*, in comments, and in the
# pixels.
#
# ### Why a plain hash is not enough
#
# Images of one person must stay together, so each person needs a *pseudonym*. A hash of the record
# number cannot be reversed. But an attacker can hash all possible numbers and compare.

# %% tags=["nbval-check-output"]
pseudonym = hashlib.sha256(str(header.PatientID).encode()).hexdigest()
letters, digits = re.fullmatch(r"(.*?)(\d+)", str(header.PatientID)).groups()
tried = 0
while True:
    number = f"{letters}{tried:0{len(digits)}d}"
    tried += 1
    if hashlib.sha256(number.encode()).hexdigest() == pseudonym:
        break
print(f"pseudonym {pseudonym[:12]}... is {number}, found after {tried:,} guesses")

# %% [markdown]
# The usual solution is a *keyed* hash: without its secret, nobody can test guesses. The same secret
# gives the same pseudonyms. But anyone who holds it can reverse them, so never send it with the data.
#
# ### De-identify and verify
#
# `deid.deidentify` works in four steps:
#
# 1. **list** every identifier in the input;
# 2. **clean** each file by the DICOM table, nested sequences included; elsewhere keep only numbers,
#    standard words and pixels;
# 3. **verify**: search every byte of each copy for every identifier before writing it;
# 4. **report** what was done and found, and what a person must decide.
#
# It removes or refuses what it does not understand, and never changes the input. Two images have text in
# their *pixels*.

# %%
burned = sample[sample["burned_in"].astype(str) == "True"].head(2)
others = sample[sample["burned_in"].astype(str) != "True"].iloc[1:16]
incoming, outgoing = work / "from_the_hospital", work / "to_share"
incoming.mkdir()
for path in [work / "nested.dcm", *burned["dicom_path"], *others["dicom_path"]]:
    shutil.copy(path, incoming)
report = deid.deidentify(incoming, outgoing, progress=False)

# %% tags=["nbval-check-output"]
display(Markdown(f"> {report.summary()}"))
report.files["status"].value_counts().to_frame("files")

# %% [markdown]
# Check it yourself: collect names and numbers from the originals, then search every byte of the output.
# (We skip texts under five characters: they also occur by chance.)

# %% tags=["nbval-check-output"]
wanted = set()
for path in incoming.iterdir():
    one = images.read_header(path)
    parts = [*re.split(r"\W+", str(one.PatientName)), str(one.PatientID), str(one.AccessionNumber)]
    wanted |= {part.lower().encode() for part in parts if len(part) >= 5}


def found_in(folder):
    """Count those texts that occur in the bytes of a folder's files, upper or lower case."""
    data = b"\n".join(path.read_bytes().lower() for path in folder.rglob("*.dcm"))
    return sum(text in data for text in wanted)


# %% tags=["nbval-check-output"]
before, after = found_in(incoming), found_in(outgoing)
assert (before, after, report.ok) == (len(wanted), 0, True)
print(f"of {len(wanted)} texts, {before} are in the input and {after} in the output")

# %% [markdown]
# This does not find text drawn into pixels. The library also searches for dates, addresses, serial
# numbers, UIDs and private texts. Its result for the eighteen Safe Harbor identifiers:

# %% tags=["nbval-check-output"]
report.hipaa.set_index("number")[["identifier", "values_in_input", "settled"]]

# %% [markdown]
# *In the header* means that the header is clean, but a person must look for text in the images. *A
# person decides* means that no program can.
#
# "None found" means none *without an explanation*, such as a short text inside a longer number. Other
# hits are leaks, and that copy is not written.

# %%
with pd.option_context("display.max_colwidth", None):
    display(report.accepted.groupby("reason")["count"].sum().to_frame("hits"))
print("hits without an explanation:", len(report.leaks))

# %% [markdown]
# ### Two folders: share only one
#
# A second folder, `to_share.private`, holds the secret and the table that links inputs to outputs. It
# stays in the hospital.

# %% tags=["nbval-check-output"]
private = outgoing.with_name(outgoing.name + ".private")
for folder in (outgoing, private):
    kinds = sorted({"*.dcm" if p.suffix == ".dcm" else p.name for p in folder.rglob("*.*")})
    print(f"{folder.name:18} {', '.join(kinds)}")
again = deid.deidentify(incoming, outgoing, progress=False)
print("run a second time, the same files:", again.files["output"].equals(report.files["output"]))

# %% [markdown]
# ### Dates: keep the intervals, lose Safe Harbor
#
# `retain_dates` moves all dates of a patient back by one secret number of days: the dates become false,
# the *intervals* stay true.

# %% tags=["nbval-check-output"]
visits = sample[sample["patient_id"] == sample.loc[sample["visit"] == 2, "patient_id"].iloc[0]]
(work / "course").mkdir()
for path in visits["dicom_path"]:
    shutil.copy(path, work / "course")
options = deid.DeidOptions(retain_dates=True, secret="for this lesson only")
dated = deid.deidentify(work / "course", work / "course_out", options=options, progress=False)
for folder in ("course", "course_out"):
    files = sorted((work / folder).rglob("*.dcm"))
    days = sorted(pd.Timestamp(str(images.read_header(path).StudyDate)) for path in files)
    print(f"{folder:12} days between the images: {(days[-1] - days[0]).days}")
print("identifier 3 settled:", dated.hipaa["settled"].iloc[2])

# %% [markdown]
# Identifier 3 is *not* settled: shifted dates are dates, so you need expert determination. (Under a data
# use agreement, research may use a *limited data set* with dates; it remains protected health
# information, 45 CFR 164.514(e).)
#
# ### What is left in the image
#
# No program reliably finds text in pixels. So the report asks a person to look:

# %% tags=["nbval-check-output"]
report.look_at

# %% [markdown]
# Look at the first one, lower left.

# %%
table = pd.read_csv(private / "files.csv").set_index("input")
name = Path(burned["dicom_path"].iloc[0]).name
cleaned = outgoing / table.loc[name, "output"]
logging.getLogger("medimg.images").setLevel(logging.ERROR)  # switch off its warning about text
corner = np.s_[-70:, :260]  # the last 70 rows, the first 260 columns
fig = plots.plot_grid(
    [images.read_image(path)[corner] for path in (incoming / name, cleaned)],
    columns=2,
    titles=["as it came", "de-identified in the header only"],
)
plots.show(fig, alt="The patient's name is in the corner of the pixels, before and still after.")
print("Patient Identity Removed:", images.read_header(cleaned).PatientIdentityRemoved)

# %% [markdown]
# The header is clean, but the name is legible: *Patient Identity Removed* says NO. We blank a *box* in
# files whose header states burned-in text. (A person chooses it: here, the last rows.)

# %%
sizes = {(images.read_header(p).Rows, images.read_header(p).Columns) for p in burned["dicom_path"]}
boxes = tuple(
    deid.Box(rows - 24, rows, 0, columns, (("BurnedInAnnotation", "YES"), ("Rows", str(rows))))
    for rows, columns in sorted(sizes)
)
options = deid.DeidOptions(blank=boxes)
blanked = deid.deidentify(incoming, work / "blanked", options=options, progress=False)
table = pd.read_csv(work / "blanked.private" / "files.csv").set_index("input")
boxed = work / "blanked" / table.loc[name, "output"]

# %% [markdown]
# Nothing may be left inside the box, and no pixel outside may change.

# %% tags=["nbval-check-output"]
old, new = images.read_values(incoming / name), images.read_values(boxed)
outside = np.ones(old.shape, bool)
outside[-24:] = False
changed = int((old != new)[outside].sum())
assert (changed, len(np.unique(new[~outside]))) == (0, 1)
print(f"pixels outside the box that changed: {changed} of {outside.sum():,}")
fig = plots.plot_grid([images.read_image(p)[corner] for p in (cleaned, boxed)], columns=2,
                      titles=["before", "with the box"])  # fmt: skip
plots.show(fig, alt=f"The text is gone under a black strip; {changed} pixels outside it changed.")

# %% [markdown]
# Before you share data, a person must decide about:
#
# - **Burned-in text** that the header does not mention, as in ultrasound and screenshots.
# - **Faces.** A head CT or MR shows the face; software has matched faces from MR with photographs ([Schwarz
#   2019](https://doi.org/10.1056/NEJMc1908881)).
# - **The body.** A rare finding or an implant can be recognised. A network can match chest radiographs
#   of one person taken years apart ([Packhäuser 2022](https://doi.org/10.1038/s41598-022-19045-3)).
#   De-identified is not anonymous for ever: share under a contract.
# - **The pseudonym.** Ours is derived from the record number. Safe Harbor allows only codes not derived
#   from information about the person (45 CFR 164.514(c)). A random table is safer; ask a lawyer.
#
# A colleague de-identified `colleague.dcm` with a script and says that name and record number are gone.

# %% tags=["hide-input"]
other = sample[sample["burned_in"].astype(str) != "True"].iloc[20]
original = images.read_header(other["dicom_path"])
patient, record = str(original.PatientName), str(original.PatientID)
sent = pydicom.dcmread(other["dicom_path"])
sent.PatientName, sent.PatientID = "ANONYMOUS", "0001"
sent.ImageComments = f"repeat: {patient.split('^')[0].lower()} moved"
sent.private_block(0x0011, "INVENTA", create=True).add_new(0x01, "LO", f"{record}/1")
sent.RequestAttributesSequence = [pydicom.Dataset()]
sent.RequestAttributesSequence[0].PatientName = patient
(work / "sent").mkdir()
sent.save_as(work / "sent" / "colleague.dcm")

# %% [markdown]
# ### Exercise: catch the leaks
#
# Find every place in `colleague.dcm` where they still are. Then write a copy that holds neither of them in
# any byte, with the same pixels, and submit its path. (`dicom.iterall()` goes through all elements, nested
# ones included. You may use `deid.deidentify`, but look for the leaks first.)

# %% tags=["exercise"]
dicom = pydicom.dcmread(work / "sent" / "colleague.dcm")
# solution: begin
secrets = [part.lower() for part in (*patient.split("^"), record) if len(part) > 3]
for element in list(dicom.iterall()):
    if element.VR != "SQ" and any(secret in str(element.value).lower() for secret in secrets):
        print("leak at", element.tag)
        element.value = ""
mine = work / "clean.dcm"
dicom.save_as(mine)
# blank: mine = ...  # the path of your file
# solution: end
exercises.check("06-leak", mine, patient=patient, record=record, original=other["dicom_path"])
# exercises.hint("06-leak")  # take away the first # for a hint

# %% [markdown]
# ## 2. Which patients does it miss?
#
# A network with a good average can fail a group. A program that allocated care used *costs* as a measure
# of *illness* and underestimated the needs of Black patients ([Obermeyer
# 2019](https://doi.org/10.1126/science.aax2342)). Networks for chest radiographs missed disease more
# often in women, Black patients and patients with Medicaid, public insurance for people with low incomes
# ([Seyyed-Kalantari 2021](https://doi.org/10.1038/s41591-021-01595-0)). Pulse oximeters missed low
# oxygen more often in Black than in white patients ([Sjoding
# 2020](https://doi.org/10.1056/NEJMc2029240)).
#
# We use frozen features and a linear classifier ([notebook 3](/notebooks/03_finetune.ipynb)), with
# cross-validation by patient.

# %%
rng = np.random.default_rng(0)
studies = datasets.load(classes=2)
studies = datasets.subsample(studies, {"train": 120, "val": 60, "test": 120}, rng=rng)
on_sample = "sex" in studies
data = datasets.decode(studies, progress=False)
network = models.build_model("efficientnet_lite0")
features = training.extract_features(network, data.images)

# %% [markdown]
# We weight the classes equally and fix the threshold at 0.5 *before* any result. A threshold chosen on
# these images would look too good.

# %%
def score(learn, judge):
    """Score the images `judge` with a classifier trained on the images `learn`."""
    probe = training.linear_probe(features[learn], data.labels[learn], class_weights="balanced")
    return training.probabilities(probe.logits(features[judge]))


scores = training.cross_validate(score, data.labels, data.patients)
predictions = metrics.Predictions(data.ids, data.labels, scores, data.patients, data.classes)
overall = metrics.evaluate(predictions, threshold=0.5)
if on_sample:
    assert 0.6 < overall["auc"].value <= 1
overall.table.loc[["sensitivity", "specificity", "auc"], ["value", "low", "high"]].round(2)

# %% [markdown]
# You cannot examine what a data set does not record. Large public sets give age and sex; few give origin
# or insurance; Kermany's gives nothing.

# %% tags=["nbval-check-output"]
groups = studies[[name for name in ("sex", "view", "site") if name in studies]].copy()
if "age" in studies:
    groups["age"] = metrics.age_bands(studies["age"])
if groups.empty:
    bright = data.images.mean(axis=(1, 2))
    groups["film"] = np.where(bright > np.median(bright), "brighter half", "darker half")
    print("This set tells nothing of its patients. Its images are grouped by brightness instead,")
    print("which shows how it is done and says nothing about fairness to people.")
tables = {name: pd.crosstab(groups[name], studies["label"]) for name in groups}
pd.concat(tables, names=["attribute", "group"])

# %% [markdown]
# First by hand: *of the people with pneumonia in this group*, what share is found?

# %%
attribute, called = groups.columns[0], predictions.predicted(0.5) == 1
by_hand = {}
for name in sorted(set(groups[attribute])):
    ill = (groups[attribute] == name).to_numpy() & (data.labels == 1)
    by_hand[name] = called[ill].sum() / ill.sum()
    print(f"{attribute} {name}: {called[ill].sum()} of {ill.sum()} found, {by_hand[name]:.2f}")

# %% [markdown]
# `metrics.subgroups` does this for every attribute and adds specificity, AUC, gaps to the largest known group,
# and intervals by patient.

# %%
audit = metrics.subgroups(predictions, groups, threshold=0.5)
found = audit.table[(audit.table["attribute"] == attribute)]
found = found[found["metric"] == "sensitivity"].set_index("group")["value"]
np.testing.assert_allclose(found[list(by_hand)], list(by_hand.values()))
ax = plots.plot_subgroups(audit, metric="sensitivity")
plots.show(ax.figure, alt="Sensitivity of each group, with its interval; the lowest is "
           f"{audit.table.groupby('metric')['value'].min()['sensitivity']:.2f}.")

# %% tags=["hide-input"]
gaps = audit.gaps[(audit.gaps["metric"] == "sensitivity") & audit.gaps["low"].notna()]
clear = gaps[(gaps["low"] > 0) | (gaps["high"] < 0)]
worst = gaps[["low", "high"]].abs().max(axis=None)
say = f"Of **{len(gaps)}** gaps in sensitivity, **{len(clear)}** have an interval without zero. "
say += f"The largest gap that some interval still allows is **{worst:.2f}**. "
say += f"Warnings that a group is too small to say: **{len(audit.warnings)}**."
display(Markdown(say))

# %% [markdown]
# Two cautions:
#
# - **No visible gap does not mean no gap.** With twenty positive images per group, a true gap of ten
#   percentage points usually stays hidden. The interval shows how large it could be.
# - **A visible gap may be chance.** If you examine twenty gaps, about one stands out by chance. In the
#   sample, age, sex and hospital are independent of the disease ([dataset card](/data/README.md)).
#
# Name the groups *before* you look, and report all.
#
# ### Exercise: measure a gap
#
# Return the sensitivity in group `1` minus the sensitivity in group `0`. The inputs are three NumPy
# arrays of zeros and ones, one entry per patient: truth, prediction and group.


# %% tags=["exercise"]
def sensitivity_gap(y_true, y_called, group):
    """Sensitivity in group 1 minus sensitivity in group 0."""
    # solution: begin
    found = [y_called[(y_true == 1) & (group == g)].mean() for g in (0, 1)]
    return found[1] - found[0]
    # solution: end


exercises.check("06-gap", sensitivity_gap)
# exercises.hint("06-gap")  # take away the first # for a hint

# %% [markdown]
# ### A bias that we make ourselves
#
# Every patient is imaged on machine **A** (the image as it is) and on an old machine **B** (more noise,
# less contrast). Any difference comes from the machine and the training data.

# %%
grey = data.images.astype(float)
mean = grey.mean(axis=(1, 2), keepdims=True)
other = mean + 0.6 * (grey - mean) + np.random.default_rng(0).normal(0, 12, grey.shape)
other = other.clip(0, 255).round().astype(np.uint8)
features_b = training.extract_features(network, other)
pair = [data.images[0], other[0]]
plots.show(
    plots.plot_grid(pair, columns=2, titles=["machine A", "machine B"]),
    alt="The same image twice; on machine B it is greyer and grainy, but readable.",
    colours=128,
)

# %% [markdown]
# Now a share of the training *patients* comes from B. `copies` counts B's images several times:
# *reweighting*.

# %%
patients, number = np.unique(data.patients, return_inverse=True)
place = rng.permutation(len(patients))[number] / len(patients)  # a random number per patient


# %%
def trained_with(share, copies=1):
    """Return Predictions on A and B after training with this share of patients from B."""
    def score(learn, judge):
        from_b = place[learn] < share
        x = np.where(from_b[:, None], features_b[learn], features[learn])
        times = np.where(from_b, copies, 1)
        learned = np.repeat(x, times, axis=0), np.repeat(data.labels[learn], times)
        probe = training.linear_probe(*learned, class_weights="balanced")
        tried = [training.probabilities(probe.logits(f[judge])) for f in (features, features_b)]
        return np.stack(tried, axis=1)  # (n, 2): on A and on B

    result = training.cross_validate(score, data.labels, data.patients)
    return [predictions.with_scores(column) for column in result.T]


# %% [markdown]
# Four training sets: no patient from B; one in ten; one in ten, each counted nine times for equal
# weight; half from each.

# %%
recipes = {"nobody from B": (0, 1), "1 in 10 from B": (0.1, 1),
           "1 in 10, counted ninefold": (0.1, 9), "half from B": (0.5, 1)}
trained = {name: trained_with(*recipe) for name, recipe in recipes.items()}
lines = {}
for name, on_both in trained.items():
    for machine, on_one in zip("AB", on_both, strict=True):
        result = metrics.evaluate(on_one, threshold=0.5)
        shown = ("sensitivity", "specificity", "auc")
        lines[name, machine] = {key: f"{result[key]:.2f}" for key in shown}
pd.DataFrame(lines).T

# %%
on_a, on_b = trained["nobody from B"]
both = metrics.Predictions(
    [*on_a.ids, *(f"{i} on B" for i in on_b.ids)],
    np.tile(data.labels, 2),
    np.concatenate([on_a.y_score, on_b.y_score]),
    np.tile(data.patients, 2),
    data.classes,
)

# %% tags=["headline", "hide-input"]
machines = pd.DataFrame({"machine": np.repeat(["A", "B"], len(data))})
gap = metrics.subgroups(both, machines, threshold=0.5).gaps.set_index("metric")
display(Markdown("; ".join(
    f"**{key}** on B minus A: {gap.loc[key, 'value']:+.2f} ({gap.loc[key, 'low']:+.2f} to "
    f"{gap.loc[key, 'high']:+.2f})" for key in ("sensitivity", "specificity", "auc"))))  # fmt: skip

# %% [markdown]
# Both machines imaged the same patients, so `metrics.subgroups` makes a *paired* comparison. (Do not
# compare two intervals by eye: read that of the gap.)
#
# Compare the table's first two rows: *which* number falls, sensitivity (pneumonia is missed) or
# specificity (false alarms)? Which intervals exclude zero? If the AUC falls too, no threshold
# repairs the ranking. If only the scores shift, the AUC alone hides the harm.

# %% tags=["hide-input"]
fig, axes = plt.subplots(2, 1, figsize=(6, 4.6), sharex=True, layout="constrained")
for ax, name in zip(axes, ("nobody from B", "half from B"), strict=True):
    for machine, style, one in zip("AB", ("o", "s"), trained[name], strict=True):
        shift = (-0.1 if machine == "A" else 0.1) + rng.uniform(-0.06, 0.06, len(data))
        ax.plot(one.y_score, data.labels + shift, style, ms=3, alpha=0.6, label=machine)
    ax.axvline(0.5, color="black", lw=1)
    ax.set(title=f"trained with {name}", yticks=[0, 1], yticklabels=data.classes, xlim=(0, 1))
axes[0].legend(title="machine", fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
axes[1].set_xlabel("Score")
plots.show(fig, alt="Share of images called positive, on A and on B: " + "; ".join(
    f"trained with {name}, {a.predicted(0.5).mean():.2f} and {b.predicted(0.5).mean():.2f}"
    for name, (a, b) in trained.items() if name in ("nobody from B", "half from B")) + ".")

# %% [markdown]
# ### What helps, and what it costs
#
# Read the AUC first: only a higher AUC shows better separation, and only if the interval of the
# *difference* (`metrics.auc_difference`) leaves out 0. Sensitivity can rise merely because specificity
# falls.
#
# - **More images from B**: usually the best remedy, and always the most expensive. Here they *replace*
#   images from A, so A may get worse; in practice you add images.
# - **Reweighting**: free, but risky. The weight grows, not the number of patients, and the classifier
#   may overfit them. Compare with *1 in 10*.
# - **A separate threshold for B**: free. It exchanges errors; the AUC stays the same. We choose it for
#   A's sensitivity on one half of the patients and apply it to the other.

# %%
goal = min(metrics.evaluate(on_a, threshold=0.5)["sensitivity"].value, 0.98)
half = (place * len(patients)).round().astype(int) % 2 == 0
called_b = np.zeros(len(data), bool)
for side in (half, ~half):
    cut = metrics.choose_threshold(on_b.subset(~side), rule="sensitivity", floor=goal)
    called_b[side] = on_b.y_score[side] >= cut.value
ill = data.labels == 1
for name, calls in (("0.5 for all", on_b.y_score >= 0.5), ("B's own", called_b)):
    print(f"on B, threshold {name:12} sensitivity {calls[ill].mean():.2f}, "
          f"specificity {1 - calls[~ill].mean():.2f}")  # fmt: skip

# %% [markdown]
# ### Exercise: how much of B is enough?
#
# Train once more, with **one in four** patients from B, not reweighted, and compare on B with the recipes
# above. Submit the two `Predictions` (on A and on B).

# %% tags=["exercise"]
# solution: begin
# blank: quarter = ...
quarter = trained_with(0.25)
# solution: end
exercises.check("06-quarter", quarter, trained=trained, trained_with=trained_with)
# exercises.hint("06-quarter")  # take away the first # for a hint

# %% [markdown]
# A separate threshold has three problems:
#
# - The group must be known, and in a small group the threshold is unstable.
# - For a *machine*, it needs validation, and changing a marketed device may make you its legal
#   manufacturer (MDR, Article 16). For *sex* or *origin*, it is unequal treatment: ask a lawyer. (United
#   States, since 1 May 2025: 45 CFR 92.210 on discrimination by decision support tools.)
# - It cannot make everything equal. Suppose only prevalence differs between two clinics:

# %% tags=["nbval-check-output"]
for clinic, prevalence in (("emergency ward", 0.30), ("mobile unit", 0.03)):
    values = metrics.ppv_npv_at(prevalence, 0.90, 0.90)
    print(f"{clinic}: {prevalence:.0%} have it; of 100 alarms {100 * values.ppv.value:.0f} are so")

# %% [markdown]
# At equal sensitivity and specificity, different prevalence gives different PPVs, unless there are no
# false positives at all ([Chouldechova 2017](https://doi.org/10.1089/big.2016.0047)). Clinicians and
# patients must say which kind of *fairness* matters. Removing the column "sex" does not help: networks
# recognise sex, age and even self-reported race in the image ([Gichoya
# 2022](https://doi.org/10.1016/S2589-7500%2822%2900063-2)).
#
# ## 3. Would it work elsewhere?
#
# | validation | patients | shows | does not show |
# |---|---|---|---|
# | internal | others, same hospital and years | more than memorising | other places |
# | external | other hospitals, machines, populations | whether it works elsewhere | whether it helps |
# | prospective | *after* the network was fixed, by a written plan | results on unselected patients | whether outcomes improve |
# | randomised | prospective, with or without it by chance | whether patients benefit | other settings |
#
# Machine B was a stress test with the same patients. Pneumonia networks often did worse at other
# hospitals and could recognise the hospital from the image ([Zech
# 2018](https://doi.org/10.1371/journal.pmed.1002683)). A sepsis alarm in use at hundreds of hospitals
# missed two of three cases in an external study ([Wong
# 2021](https://doi.org/10.1001/jamainternmed.2021.2626)).
#
# Readers may trust a network too much (*automation bias*); *reader studies* compare readers with and
# without it. In use, somebody checks monthly: share of alarms, a sample read
# without it, new scanners.
#
# ### How many patients are needed?
#
# Ask how wide an interval you can accept. By hand, with Wilson's formula ([notebook
# 4](/notebooks/04_evaluate.ipynb)):


# %% tags=["nbval-check-output"]
def wilson_half_width(share, n, z=1.959964):
    """Half the width of Wilson's 95 % interval for a share measured on n patients."""
    inside = share * (1 - share) / n + z**2 / (4 * n**2)
    return z * np.sqrt(inside) / (1 + z**2 / n)


checked = metrics.wilson(36, 40)  # 36 of 40 patients with the disease found
np.testing.assert_allclose(wilson_half_width(0.9, 40), (checked.high - checked.low) / 2, rtol=1e-5)
print(f"36 of 40 found: sensitivity {checked:.2f}")

# %% tags=["nbval-check-output", "hide-input"]
needed = np.arange(20, 401)
width = wilson_half_width(0.9, needed)
enough = int(needed[width <= 0.05][0])
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(needed, 100 * width)
ax.axhline(5, color="black", lw=0.8, ls="--")
ax.set(xlabel="patients with the disease in the study", ylim=(0, 15),
       ylabel="half-width (percentage points)")
ax.grid(alpha=0.3)
plots.show(fig, alt=f"The half-width falls slowly; at {enough} patients it reaches 5 points.")
display(Markdown(f"A sensitivity of 0.90, give or take 0.05, needs **{enough}** patients with "
                 "the disease."))

# %% [markdown]
# For an AUC, by hand and then by library (Hanley and McNeil, [notebook 4](/notebooks/04_evaluate.ipynb)):


# %% tags=["nbval-check-output"]
def auc_half_width(auc, ill, well, z=1.959964):
    """Half the width of the 95 % interval of an AUC."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (ill - 1) * (q1 - auc**2) + (well - 1) * (q2 - auc**2)
    return z * np.sqrt(spread / (ill * well))


study = metrics.sample_size(auc=0.9, half_width=0.05, prevalence=0.05)
assert auc_half_width(0.9, study.positive, study.negative) <= 0.05
assert metrics.sample_size(sensitivity=0.9, half_width=0.05).positive == enough
print(f"AUC 0.90, give or take 0.05: {study.positive} with the disease, {study.negative} without")

# %% [markdown]
# Half the width needs four times the patients *with disease*. If one in twenty has it, recruit twenty
# for each; this is an average, so add a tenth. Each subgroup needs as many.
#
# ### Exercise: plan a study
#
# You expect a sensitivity of **0.85** and want a 95 % interval (Wilson) with a half-width of at most
# **0.04**. **8 %** of your patients with a chest radiograph have pneumonia. How many patients must the
# study recruit to find enough on average?

# %% tags=["exercise"]
# solution: begin
sizes = np.arange(50, 2000)
# blank: sizes = ...  # numbers of patients with the disease to try: np.arange(50, 2000)
# blank: with_disease = ...  # the smallest of them whose interval is narrow enough
# blank: recruit = ...  # how many to recruit, so that this many have the disease (a whole number)
with_disease = sizes[wilson_half_width(0.85, sizes) <= 0.04][0]
recruit = int(np.ceil(with_disease / 0.08))
# solution: end
exercises.check("06-recruit", recruit)
# exercises.hint("06-recruit")  # take away the first # for a hint

# %% [markdown]
# ## 4. Which rules apply?
#
# **As of November 2026.** Not legal advice: ask your regulatory expert. Most was checked against texts of autumn 2026 (AI Act), May 2026 (MDR) and spring 2026 (FDA).
#
# Software that reads images to support decisions about patients is usually *software as a medical
# device* (SaMD; IMDRF N10, 2013). IMDRF N12 (2014) grades its impact (IV: highest):
#
# - treat or diagnose: IV if the patient's state is critical, III if serious, II if not serious;
# - drive management: III, II, I;
# - inform: II, I, I.
#
# "Sorts the worklist" and "rules out pneumonia" are two devices, even with the *same network*. The
# **intended use**, stated by the manufacturer, decides.
#
# ### United States: the FDA
#
# Some decision support is excluded, but never software that analyses medical images (section 520(o)(1)(E)
# of the Food, Drug, and Cosmetic Act; guidance of January 2026). The FDA has its own classes, I (low
# risk) to III (high), and three routes:
#
# - **510(k)**, premarket notification: show substantial equivalence to a legally marketed device (21 CFR
#   807, subpart E);
# - **De Novo**, nothing similar, low or moderate risk: show that it is safe and effective, usually under
#   *special controls* (21 CFR 860, subpart D);
# - **PMA**, premarket approval, class III: show the same by valid scientific evidence (21 CFR 814).
#
# Imaging software, all class II (21 CFR):
#
# - [image management and processing](https://www.ecfr.gov/current/title-21/section-892.2050): 892.2050
# - [diagnosis](https://www.ecfr.gov/current/title-21/section-892.2060) (lesions suspicious of cancer): 892.2060
# - [detection](https://www.ecfr.gov/current/title-21/section-892.2070) (marks possible abnormalities): 892.2070
# - [triage](https://www.ecfr.gov/current/title-21/section-892.2080): 892.2080 (De Novo in 2018, [codified
#   in January 2020](https://www.govinfo.gov/content/pkg/FR-2020-01-22/html/2020-00496.htm)): moves, say,
#   a likely pneumothorax up the worklist; one that it misses may wait longer ([Baltruschat
#   2021](https://doi.org/10.1007/s00330-020-07480-7))
# - [detection and diagnosis](https://www.federalregister.gov/d/2025-10789): 892.2090 (codified in June
#   2025)
#
# A significant change normally needs a new submission. A **predetermined change control plan** (PCCP;
# section 515C, December 2022) states beforehand *what* may change, *how* it is validated, and *what
# could go wrong*
# ([FDA guidance](https://www.fda.gov/regulatory-information/search-fda-guidance-documents/marketing-submission-recommendations-predetermined-change-control-plan-artificial-intelligence),
# reissued August 2025). *Good machine learning practice* (IMDRF N88, January
# 2025) asks for independent test sets, representative patients and monitoring.
#
# The [list of AI-enabled
# devices](https://www.fda.gov/medical-devices/software-medical-device-samd/artificial-intelligence-enabled-medical-devices)
# had about 1,450 entries at the end of 2025, three in four in radiology.
#
# ### European Union: MDR and AI Act
#
# - **MDR** (Medical Device Regulation), [Regulation (EU)
#   2017/745](https://eur-lex.europa.eu/eli/reg/2017/745/oj), applicable since 26 May 2021. By Annex VIII,
#   rule 11, software that informs decisions on diagnosis or therapy is class IIa; IIb if these may cause
#   serious deterioration or surgery; III if death or irreversible deterioration. From IIa on, a
#   *notified body* (a designated organisation) checks it. A proposal (COM(2025) 1023, December 2025; not
#   passed when we last looked) would rewrite rule 11 and remove most direct AI Act duties for devices.
# - **MDR, Article 5(5)**: a hospital may make a device for itself under fewer rules. Conditions include:
#   no transfer to another legal entity, quality management, Annex I (safety and performance), and a
#   documented reason why no equivalent device on the market meets the patients' needs well enough.
# - **AI Act**, [Regulation (EU) 2024/1689](https://eur-lex.europa.eu/eli/reg/2024/1689/oj): a device
#   that a notified body must check is also a *high-risk* AI system (Article 6(1)). It needs risk
#   management, data governance, logging, human oversight and stated accuracy. Hospitals that use it have
#   duties too. [Regulation (EU) 2026/1744](https://eur-lex.europa.eu/eli/reg/2026/1744/oj) ("Digital
#   Omnibus on AI", since 27 July 2026) moved dates and softened duties.
#
# The AI Act entered into force on 1 August 2024. Steps:
#
# - 2 February 2025: forbidden practices; AI literacy of staff (Article 4, softened in 2026)
# - 2 August 2025: general-purpose models
# - 2 August 2026: the Act in general, with transparency (Article 50)
# - 2 December 2027: high-risk uses of Annex III (before: August 2026)
# - 2 August 2028: high-risk AI in products such as medical devices (before: August 2027)
#
# Clearance, approval or a CE mark means that a device may be *sold*, not that it works in *your* ward.
#
# ## 5. Report it: a model card
#
# A **model card** ([Mitchell 2019](https://doi.org/10.1145/3287560.3287596)) says what a model is for,
# on whom it was measured, how well it works and where it fails. Compute its numbers; do not type them.

# %%
change = {
    key: f"{gap.loc[key, 'value']:+.2f} ({gap.loc[key, 'low']:+.2f} to {gap.loc[key, 'high']:+.2f})"
    for key in ("sensitivity", "specificity")
}
limits = "Not validated elsewhere. On the same images with more noise and less contrast, "
limits += f"sensitivity changed by {change['sensitivity']}, specificity by {change['specificity']}."

# %%
card = reports.ModelCard(
    name="Pneumonia classifier for teaching",
    version="1",
    intended_use="To teach how such a classifier is built, measured and described.",
    users="Learners and their teachers.",
    out_of_scope="Any patient. Any decision about care.",
    model="EfficientNet-Lite0, frozen, ImageNet weights; logistic regression on its features.",
    training_data=f"{len(data)} chest radiographs of {len(patients)} patients, cross-validated.",
    evaluation_data="The same patients, each scored by a classifier that was not trained on them.",
    limits=limits,
)

# %%
reports.model_card(card, work / "model_card.html", evaluation=overall, groups=audit)

# %% tags=["nbval-check-output"]
print("left open:", ", ".join(card.missing))
written = (work / "model_card.html").read_text(encoding="utf-8")
assert f"{overall['auc'].value:.2f}" in written
answers = reports.checklist(work / "list.html", card=card, evaluation=overall, groups=audit)
answered = answers.assign(answered=answers["answer"] != "").groupby("list")["answered"]
answered.agg(["sum", "size"]).rename(columns={"sum": "answered", "size": "items"})

# %% [markdown]
# The card lists what we left open. The table counts how many items of two reporting guidelines the
# numbers answer: TRIPOD+AI for prediction models ([Collins
# 2024](https://doi.org/10.1136/bmj-2023-078378)) and CLAIM for imaging ([Tejani
# 2024](https://doi.org/10.1148/ryai.240300)). The card in short:

# %%
told = pd.Series(asdict(card)).replace("", "(not stated)").to_frame("statement")
healthy, ill = overall.confusion.sum(axis=1)  # each rate counts its own images
asked = {"sensitivity": f"{ill} positive", "specificity": f"{healthy} negative", "auc": "all"}
for key, counted in asked.items():
    told.loc[key] = f"{overall[key]:.2f}, on {counted} images"
with pd.option_context("display.max_colwidth", None):
    display(told)

# %% [markdown]
# ### And a dataset card
#
# A **dataset card** ([Gebru 2021](https://doi.org/10.1145/3458723): *datasheet*) says who is in the data
# set, who is not, where the labels come from and how to use it. The
# [sample's dataset card](/data/README.md) is complete.

# %%
facts = {
    "images": len(studies),
    "patients": studies["patient_id"].nunique(),
    "most images of one patient": studies["patient_id"].value_counts().max(),
    "patients in two splits": int((studies.groupby("patient_id")["split"].nunique() - 1).sum()),
}
for label, count in studies["label"].value_counts().items():
    facts[f"labelled {label}"] = f"{count} ({count / len(studies):.0%})"

# %% tags=["nbval-check-output"]
for name in ("age", "sex", "view", "site"):
    known = studies[name].dropna() if name in studies else pd.Series(dtype=str)
    facts[name] = "NOT RECORDED" if known.empty else ", ".join(
        f"{v} {n}" for v, n in (groups[name].value_counts(sort=False).items()))  # fmt: skip
with pd.option_context("display.max_colwidth", None):
    display(pd.Series(facts).to_frame("computed"))

# %% [markdown]
# Where it says "NOT RECORDED" (Kermany's set: four times), nobody can check the groups. Add: did the
# people consent, or what is the legal basis?

# %%
shutil.rmtree(work)  # this deletes the secret, too

# %% [markdown]
# ## Key points
#
# - Identifiers hide in nested sequences, private elements and pixels. List, clean, verify, report; then
#   a person looks. Never share the private folder.
# - Report each group with its interval and count. No visible gap does not mean no gap.
# - More data from the missed group adds information; separate thresholds only move errors.
# - External validation and enough patients *with disease* show whether it works elsewhere.
# - The intended use decides the rules. Being on the market does not prove that it works in your
#   hospital.
# - Finish with a card, and state the uncertainty.
#
# ## Further reading
#
# - Privacy: [DICOM PS3.15, Annex
#   E](https://dicom.nema.org/medical/dicom/current/output/html/part15.html#chapter_E), [45 CFR
#   164.514](https://www.ecfr.gov/current/title-45/section-164.514)
# - Early clinical evaluation: [DECIDE-AI](https://doi.org/10.1038/s41591-022-01772-9)
#
# ## Next step
#
# With your hospital's permission, [bring your own images](/notebooks/instructor/own-data.md) and start
# again at [1. Load](/notebooks/01_load.ipynb).

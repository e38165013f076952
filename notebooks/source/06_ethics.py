# %% [markdown]
# # 6. Ethics: whose film it is, whom the network misses, who answers for it
#
# {{badges}}
#
# **You will be able to**
#
# - de-identify a folder of DICOM files, prove it on the bytes, and say what no program can settle;
# - measure whether a network serves every group of patients, with an interval around each gap;
# - say what helps against a gap, and what it costs;
# - tell internal, external and prospective validation apart, and compute how many patients it takes;
# - find your way through the rules of the United States and the European Union;
# - write a model card and a dataset card from computed numbers.
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

from medimg import augment, datasets, deid, exercises, images, metrics, models, plots, reports, training

work = Path(tempfile.mkdtemp())  # all that this notebook writes lies here; the last cell removes it

# %% [markdown] tags=["notes"]
# Ask first: what in a radiograph's file could lead back to the patient? Collect answers on the
# board for two minutes, and tick them off while the first section runs.

# %% [markdown]
# ## 1. Whose film is this?
#
# A film that helps to train a network has left the hospital. If somebody can tell *whose* it is,
# a patient's trust has left with it. We practise on the course's own DICOM files: the people in
# them are invented, but the headers are filled in as hospitals fill them in. (This section always
# uses the sample; pictures in PNG or JPEG have no header left to clean.)
#
# Which of these lines could lead back to a person?

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
# Nearly all of them. The name says it outright. Record and accession numbers say it to everyone
# with access to the hospital's system. The rest says it *together*: how many people of that age
# and sex had a chest film in that clinic on that day? Only the tube voltage (KVP) points to nobody.
#
# In the United States, HIPAA offers two ways to call health data de-identified (45 CFR 164.514).
# *Safe Harbor*: eighteen kinds of identifiers go, and nobody involved knows how to find the person
# all the same. *Expert determination*: a statistician shows that the risk is very small. The DICOM
# standard has a list of its own, element by element: PS3.15, Annex E. In the European Union, data
# under a pseudonym remain personal data for whoever can undo it, such as the hospital that holds
# the key (GDPR, Article 4(5), Recital 26). For a recipient it depends on whether he can reasonably
# find the person (Court of Justice, C-413/23 P, EDPS v SRB, 4 September 2025). With a picture of
# the body, do not count on it.
#
# ### Why a quick script is not enough
#
# "Overwrite `PatientName` and be done" is everyone's first idea. Let us try it on a file in which
# the name stands once more, as it does in real ones: in a *sequence* (a list inside the header)
# that lies in another sequence, where a request from the ward quotes the patient.

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
# Now search the whole header, not only its top level. A header can be printed as text, and text
# can be searched. We look for the family name, which DICOM writes before the `^`.

# %% tags=["nbval-check-output"]
family = str(header.PatientName).split("^")[0]
hits = [line for line in str(quick).splitlines() if family in line]
print("left at the top level:", family in str(quick.PatientName))
print("left anywhere:        ", len(hits))
for line in hits:
    print(re.sub(r"\s+", " ", line))

# %% [markdown]
# The top is clean and the name is still in the file. Names also hide in *private elements*, which
# each vendor fills as it likes, in comments, and, as you will see, in the picture itself.
#
# ### Why a plain hash is not enough
#
# Two films of one person must stay together, so the person needs a *pseudonym*. A popular recipe
# replaces the record number by its hash, a scramble that nobody can turn back. Nobody needs to:
# hospital numbers are so few that one can scramble them all and compare.

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
# A moment's work for a laptop. The usual cure is a *keyed* hash: a secret goes into the scramble,
# and without it there is nothing to try. (For Safe Harbor, ask a lawyer whether a code derived from
# the number will do; a random table is the safer reading.) The same secret gives the same pseudonym
# in next month's delivery, so that one person stays one person. But whoever holds it can undo
# everything. So the secret never travels with the data.
#
# ### Do it properly
#
# `deid.deidentify` works in four steps, and the order matters:
#
# 1. take *stock* of every identifier in the whole input;
# 2. *treat* each file: the DICOM table says what to remove or replace, sequences inside sequences
#    included. Of the rest, only numbers, words of the standard and samples of pixels stay;
# 3. *prove* it: search every byte of each copy for every identifier of step 1, before it is written;
# 4. *report* what was done, what was found, and what only a person can decide.
#
# The principle is to account for every byte: what the program does not understand, it removes or
# refuses. It never writes to the input. Our delivery has the file with the nested name, two films whose
# *pixels* carry text, and some others.

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
# Do not take its word for it. Here is the proof by hand: collect family names and numbers
# from every original, then search every byte of every file that came out. (We leave out texts of
# fewer than five characters. Three given letters turn up among millions of pixels by mere chance.)

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
# All of them were in the *bytes* before; none is in the bytes now. (Text drawn into the picture is
# no such text: two of these films still show a name and a date, and we come to them.) The library
# looks for more than we did: dates in every spelling, addresses, serial numbers, unique
# identifiers, vendors' private texts. Here is what it says about each of the eighteen identifiers
# of Safe Harbor.

# %% tags=["nbval-check-output"]
report.hipaa.set_index("number")[["identifier", "values_in_input", "settled"]]

# %% [markdown]
# Read the column *settled* first. *In the header* means: the header is clean, but some picture may show
# the same in plain letters, and a person must look. Where it says that *a person decides*, no program
# could, and we come to both below. (Further columns say what was `done`, what was `found` in the copies,
# and what a program `cannot_know`.) The column `values_in_input` is an upper bound. A header seldom says what kind of number it holds, so every
# personal number counts in rows 7, 8, 9 and 11, every address or telephone number in rows 2, 4, 5 and
# 6, every device in rows 13 and 15, and every private text in rows 12 and 18.
#
# The proof has small print as well. "None found" means: none *without an explanation*. A short text may
# turn up by accident, such as the digits of one number inside a longer one, or a text like "00000" in a
# strip of equal pixels. Each such hit must be explained, or the copy counts as leaking and is not
# written. The HTML report lists the spellings and character sets that were searched for. And if a copy
# holds something that the program cannot account for, the sentence above does not say "none".

# %%
with pd.option_context("display.max_colwidth", None):
    display(report.accepted.groupby("reason")["count"].sum().to_frame("hits"))
print("hits without an explanation:", len(report.leaks))

# %% [markdown]
# ### Two folders, and only one may leave
#
# Beside the output there is now a second folder, with `.private` in its name. It holds the secret,
# and the only table that says which file became which. It stays in the hospital, under lock.

# %% tags=["nbval-check-output"]
private = outgoing.with_name(outgoing.name + ".private")
for folder in (outgoing, private):
    kinds = sorted({"*.dcm" if p.suffix == ".dcm" else p.name for p in folder.rglob("*.*")})
    print(f"{folder.name:18} {', '.join(kinds)}")
again = deid.deidentify(incoming, outgoing, progress=False)
print("run a second time:", again.files["status"].value_counts().to_dict())

# %% [markdown]
# The second run found its work done and kept it, because secret and files are the same. That is
# how a large archive is done in several nights, and how next month's films get the same pseudonyms.
#
# ### Dates: keep the intervals, lose the Safe Harbor
#
# A study of recovery needs to know that the second film came nine days after the first. The option
# `retain_dates` moves all dates of a patient back by one secret number of days: no date is true any
# more, all *intervals* are. Watch what it does to the third identifier.

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
    print(f"{folder:12} days between the films: {(days[-1] - days[0]).days}")
print("identifier 3 settled:", dated.hipaa["settled"].iloc[2])

# %% [markdown]
# The interval survives, and identifier 3 is *not* settled: shifted dates are dates. Such data need
# the other road, the expert. (For research there is a third: a *limited data set* may keep its dates,
# under a data use agreement, and remains protected health information; 45 CFR 164.514(e).) A good tool
# says this aloud rather than leave it in the manual.
#
# ### What is left in the picture
#
# Headers can be searched. Pixels cannot, not reliably. So the report sends a person to look:

# %% tags=["nbval-check-output"]
report.look_at

# %% [markdown]
# Let us be that person. Which output belongs to which input? Only `files.csv` in the private folder
# knows. We take the first film with text burned in, and look at its lower left corner. (The reader
# warns whenever it opens such a file. We have read the warning, so we ask it to be silent.)

# %%
table = pd.read_csv(private / "files.csv").set_index("input")
name = Path(burned["dicom_path"].iloc[0]).name
cleaned = outgoing / table.loc[name, "output"]
logging.getLogger("medimg.images").setLevel(logging.ERROR)
corner = np.s_[-70:, :260]  # the last 70 rows, the first 260 columns
fig = plots.plot_grid(
    [images.read_image(path)[corner] for path in (incoming / name, cleaned)],
    columns=2,
    titles=["as it came", "header de-identified, pixels as they were"],
)
plots.show(fig, alt="The patient's name is written in the corner, before and after: headers only.")
print("Patient Identity Removed:", images.read_header(cleaned).PatientIdentityRemoved)

# %% [markdown]
# The header is clean, and the name is legible. Everything above was in vain for this film, and its
# *Patient Identity Removed* says so. The remedy is to blank a *box*, for those files whose header
# admits to text. (Boxes are chosen by people who have looked: here the text always stands in the
# last rows, whatever the size of the film.)

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
# And again: look, then measure. Inside the box there must be nothing; outside it every pixel must be
# what it was, or we have damaged the very thing that we wanted to share.

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
# Four things remain that no program settles, and a person must decide them before anything is
# shared:
#
# - **Burned-in text** that the header does not mention, above all in ultrasound and in pictures
#   taken off a screen.
# - **Faces.** The surface of a head CT or MR *is* a face, and software has matched such faces with
#   photographs (Schwarz 2019).
# - **The body itself.** A rare finding, an implant, a healed fracture can be known. A network can
#   even tell that two chest films show the same person, years apart (Packhäuser 2022). So
#   de-identified does not mean anonymous for ever: data go out under a contract, not only clean.
#
# - **The pseudonym itself.** Ours is a keyed hash of the record number. Safe Harbor allows a code only if
#   it is not derived from information about the person (45 CFR 164.514(c)): a question for the lawyer.
#
# ### Exercise: what still points to a person?
#
# A colleague has removed name, record number and birth date. Which of these can still lead back to
# the patient, alone or together with what others know? Give all the letters that apply, such as
# `["a", "b"]`.
#
# - a) the day and minute of the examination, with the name of the hospital
# - b) the tube voltage, 120 kV
# - c) a comment: "pacemaker, serial number 4471902"
# - d) the spacing of the pixels
# - e) the study's unique identifier (UID)

# %% tags=["exercise"]
# solution: begin
pointing = ["a", "c", "e"]
# solution: end
exercises.check("06-pointing", pointing)
# exercises.hint("06-pointing")  # take away the first # for a hint

# %% [markdown]
# ## 2. Whom does it miss?
#
# A network with a good mean can still fail a group: women, the old, those filmed in bed, those who
# go to the other hospital. It has happened. A program that allotted care counted what had been
# *spent* on people as if it were how *ill* they were, and so passed over Black patients
# (Obermeyer 2019). Networks that read chest films missed disease more often in women, in Black
# patients and in those on Medicaid, the insurance of the poor (Seyyed-Kalantari 2021). Pulse oximeters
# overlooked low oxygen more often in Black patients than in white ones (Sjoding 2020): no network needed.
#
# So we look. First we need scores. Frozen features and a linear classifier will do, as in
# [notebook 3](/notebooks/03_finetune.ipynb). Few films are ill, so we let every film be judged once,
# by a classifier that never met its patient: cross-validation, split by patient.

# %%
rng = np.random.default_rng(0)
studies = datasets.load()
studies = datasets.subsample(studies, {"train": 120, "val": 60, "test": 120}, rng=rng)
on_sample = "sex" in studies
data = datasets.decode(studies, progress=False)
network = models.build_model("efficientnet_lite0")
features = training.extract_features(network, data.images)

# %% [markdown]
# We fix the threshold at 0.5 *before* looking at any result, and give both classes the same weight.
# A threshold chosen on these very films would flatter them.

# %%
def score(learn, judge):
    """Score the films `judge` by a classifier that learned from the films `learn`."""
    probe = training.linear_probe(features[learn], data.labels[learn], class_weights="balanced")
    return training.probabilities(probe.logits(features[judge]))


scores = training.cross_validate(score, data.labels, data.patients)
predictions = metrics.Predictions(data.ids, data.labels, scores, data.patients, data.classes)
overall = metrics.evaluate(predictions, threshold=0.5)
if on_sample:
    assert 0.6 < overall["auc"].value <= 1
overall.table.loc[["sensitivity", "specificity", "auc"], ["value", "low", "high"]].round(2)

# %% [markdown]
# Now the groups. What a data set does not record cannot be looked at, and that is the first
# finding of many an audit: the large public sets give age and sex, few give origin or
# insurance, and many small ones, Kermany's among them, give nothing.

# %% tags=["nbval-check-output"]
groups = studies[[name for name in ("sex", "view", "site") if name in studies]].copy()
if "age" in studies:
    groups["age"] = metrics.age_bands(studies["age"])
if groups.empty:
    bright = data.images.mean(axis=(1, 2))
    groups["film"] = np.where(bright > np.median(bright), "brighter half", "darker half")
    print("This set tells nothing of its patients. Its films are grouped by brightness instead,")
    print("which shows how it is done and says nothing about fairness to people.")
tables = {name: pd.crosstab(groups[name], studies["label"]) for name in groups}
pd.concat(tables, names=["attribute", "group"])

# %% [markdown]
# By hand first, for one attribute. Sensitivity in a group is what it always was, with one word more:
# *of the ill in this group*, how many are found?

# %%
attribute, called = groups.columns[0], predictions.predicted(0.5) == 1
by_hand = {}
for name in sorted(set(groups[attribute])):
    ill = (groups[attribute] == name).to_numpy() & (data.labels == 1)
    by_hand[name] = called[ill].sum() / ill.sum()
    print(f"{attribute} {name}: {called[ill].sum()} of {ill.sum()} found, {by_hand[name]:.2f}")

# %% [markdown]
# `metrics.subgroups` does this for every attribute, and adds what we left out: specificity and AUC,
# the gap to the largest group, and intervals that know that two films of one patient are not two
# patients. On the first attribute it must agree with us.

# %%
audit = metrics.subgroups(predictions, groups, threshold=0.5)
found = audit.table[(audit.table["attribute"] == attribute)]
found = found[found["metric"] == "sensitivity"].set_index("group")["value"]
np.testing.assert_allclose(found[list(by_hand)], list(by_hand.values()))
ax = plots.plot_subgroups(audit, metric="sensitivity")
plots.show(ax.figure, alt="Sensitivity in each group, with 95 % intervals that overlap or do not.")

# %%
gaps = audit.gaps[(audit.gaps["metric"] == "sensitivity") & audit.gaps["low"].notna()]
clear = gaps[(gaps["low"] > 0) | (gaps["high"] < 0)]
worst = gaps[["low", "high"]].abs().max(axis=None)
say = f"Of **{len(gaps)}** gaps in sensitivity, **{len(clear)}** have an interval without zero. "
say += f"The largest gap that some interval still allows is **{worst:.2f}**. "
say += f"Warnings that a group is too small to say: **{len(audit.warnings)}**."
display(Markdown(say))

# %% [markdown]
# Read this with two cautions, which pull in opposite directions.
#
# - **No gap seen is not no gap.** With twenty ill films in a group, a true difference of ten points
#   in a hundred goes unseen most of the time. The interval says how large a gap could hide.
# - **A gap seen may be chance.** Whoever looks at twenty gaps will find about one that "stands out"
#   where nothing is the matter. In the sample, age, sex and hospital vary independently of the
#   disease, as its [card](/data/README.md) says; suspect luck first when you see a gap there.
#
# So name the groups that matter *before* looking, as a trial names its outcome, and report all of
# them, also the dull ones.
#
# ### Exercise: measure a gap
#
# Write a function that gives the gap in sensitivity between two groups: the sensitivity in group
# `1` minus that in group `0`. It gets three NumPy arrays of zeros and ones, one entry a patient:
# what is true, what was called, and the group.


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
# ### A bias made on purpose
#
# Real gaps have many causes at once. To learn what helps, we make one whose cause we know. Let
# every patient be filmed twice: on machine **A**, as the film is, and on machine **B**, an old one
# with more noise and less contrast. Same patients, same disease: whatever differs in the results
# is due to the machine and to what the network learned from.

# %%
other = augment.corrupt(augment.corrupt(data.images, "contrast", 0.6), "noise", 12.0)
features_b = training.extract_features(network, other)
pair = [data.images[0], other[0]]
plots.show(
    plots.plot_grid(pair, columns=2, titles=["machine A", "machine B"]),
    alt="The same film twice; on machine B it is greyer and grainy, and still readable.",
    colours=128,
)

# %% [markdown]
# Now a training set in which a given share of the *patients* comes from hospital B. Each film,
# A's and B's, is then judged by a classifier that never met the patient. `copies` lets each of B's
# films count several times: *reweighting*.

# %%
patients, number = np.unique(data.patients, return_inverse=True)
place = rng.permutation(len(patients))[number] / len(patients)  # each patient's lot, 0 to 1


# %%
def trained_with(share, copies=1):
    """Return Predictions on A and on B, when this share of the patients in training is B's."""
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
# Four training sets: nobody from B; one patient in ten; the same, but each of these counts nine
# times, so that both machines weigh the same; and as many from B as from A.

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

# %% tags=["headline"]
machines = pd.DataFrame({"machine": np.repeat(["A", "B"], len(data))})
gap = metrics.subgroups(both, machines, threshold=0.5).gaps.set_index("metric")
display(Markdown("; ".join(
    f"**{key}** on B minus A: {gap.loc[key, 'value']:+.2f} ({gap.loc[key, 'low']:+.2f} to "
    f"{gap.loc[key, 'high']:+.2f})" for key in ("sensitivity", "specificity", "auc"))))  # fmt: skip

# %% [markdown]
# Both machines took films of the same patients, so this is a *paired* comparison: each patient is
# compared with themselves, and what makes one patient harder than another cancels out.
# `metrics.subgroups` sees that the two groups share their patients and allows for it; as two groups of
# strangers the same gaps would have wider intervals.
#
# Compare first the top two rows of the table. The disease is the same, film by film, but the network has
# never seen machine B. Does it treat B's patients otherwise? Look at *which* number
# suffers: if sensitivity falls, B's ill go home; if specificity falls, B's healthy are alarmed. In the
# line above, see which interval leaves out zero, and whether the AUC falls too. If it does, the order of
# the films itself is worse on B, and no threshold repairs that.
#
# At a fixed threshold either can happen even where the AUC hardly moves: then the order of the films
# survives, but all scores have shifted, and a look at the AUC alone would miss it.

# %%
fig, axes = plt.subplots(2, 1, figsize=(6, 4.6), sharex=True, layout="constrained")
for ax, name in zip(axes, ("nobody from B", "half from B"), strict=True):
    for machine, style, one in zip("AB", ("o", "s"), trained[name], strict=True):
        shift = -0.1 if machine == "A" else 0.1
        jitter = rng.uniform(-0.06, 0.06, len(data))
        ax.plot(one.y_score, data.labels + shift + jitter, style, ms=3, alpha=0.6, label=machine)
    ax.axvline(0.5, color="black", lw=1)
    ax.set(title=f"trained with {name}", yticks=[0, 1], yticklabels=data.classes, xlim=(0, 1))
axes[0].legend(title="machine", fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
axes[1].set_xlabel("Score")
plots.show(fig, alt="Scores of the same films on both machines; the line is the threshold 0.5.")

# %% [markdown]
# ### What helps, and what it costs
#
# Read the column AUC first. At a cut fixed at one half, sensitivity and specificity may trade places
# without anything having been learned. Only a higher AUC says that ill and healthy are told apart
# better, and only beyond its interval.
#
# - **More films from B** (the last rows). Usually the best remedy and always the dearest: somebody has
#   to collect them. Here each film from B *replaces* one from A, so that A may pay for it in its own
#   rows. In earnest one adds films, and A pays little or nothing.
# - **Reweighting.** Free, and a gamble: compare its rows with those of *1 in 10*. Ninefold weight on a
#   handful of patients is a handful of patients still, and the classifier may learn *them*.
# - **A threshold of its own for B.** Free as well. It moves the errors about and leaves the order of
#   the films, the AUC, as it is. Let us try. To be honest we choose B's threshold on one half of
#   B's patients and use it on the other half, both ways round; the goal is A's sensitivity.

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
# A threshold of its own has four troubles. The group must be known when the film is read: a machine
# is, a patient's origin should not have to be. A small group gives a shaky threshold. For a
# *machine* it is a technical adjustment, which needs a validation of its own. (Whoever changes the
# threshold of a marketed device may have to answer for it as its manufacturer: MDR, Article 16.)
# For *sex* or *origin* it is unequal treatment in a legal sense, which needs a reason and a lawyer
# (in the United States see 45 CFR 92.210 of 2024, on discrimination through decision support tools;
# hospitals have had to comply since 1 May 2025). And it cannot make everything equal at once.
# Suppose we succeed, and sensitivity and specificity are equal in two clinics; only the disease is
# rarer in one of them:

# %% tags=["nbval-check-output"]
for clinic, prevalence in (("emergency ward", 0.30), ("screening tent", 0.03)):
    values = metrics.ppv_npv_at(prevalence, 0.90, 0.90)
    print(f"{clinic}: {prevalence:.0%} ill, of 100 alarms {100 * values.ppv.value:.0f} are true")

# %% [markdown]
# Equal sensitivity and specificity, unequal meaning of an alarm. Where prevalence differs, no
# imperfect test can make both equal; that is arithmetic, not bad will (Chouldechova 2017). Somebody
# has to say which equality, which kind of *fairness*, matters here, and that is a question for
# clinicians and patients. It is not settled by leaving the column "sex" out of the data either:
# networks read sex, age and even self-reported race from the film itself (Gichoya 2022).
#
# ## 3. Would it work elsewhere?
#
# | kind of validation | which patients | what it can show | what it cannot |
# |---|---|---|---|
# | internal | others from the same hospital and years | that the network learned more than its training films by heart | anything about another place |
# | external | from other hospitals, machines, populations | whether it travels | whether it helps anybody |
# | prospective | those who come *after* the network was fixed, by a plan written before | how it does in the real stream of patients, nobody picked | whether outcomes improve |
# | randomised | prospective, drawn by lot to be read with or without it | whether patients fare better | (dear, slow, rare) |
#
# Machine B was a stress test: the same patients, spoilt by a program. An
# external validation needs other patients. Such studies have surprised the makers: networks for
# pneumonia did worse at other hospitals and could tell the hospital itself from the film (Zech 2018); a
# sepsis alarm in use at hundreds of hospitals missed two of three cases when outsiders looked
# (Wong 2021).
#
# ### How many patients does it take?
#
# "We tested it on 40 ill patients" is how most plans go wrong. The question to ask is how wide an
# interval you can bear. By hand, with Wilson's formula from
# [notebook 4](/notebooks/04_evaluate.ipynb):


# %% tags=["nbval-check-output"]
def wilson_half_width(share, n, z=1.959964):
    """Half the width of Wilson's 95 % interval for a share measured on n patients."""
    inside = share * (1 - share) / n + z**2 / (4 * n**2)
    return z * np.sqrt(inside) / (1 + z**2 / n)


checked = metrics.wilson(36, 40)  # 36 of 40 ill patients found
np.testing.assert_allclose(wilson_half_width(0.9, 40), (checked.high - checked.low) / 2, rtol=1e-5)
print(f"36 of 40 found: sensitivity {checked:.2f}")

# %% tags=["nbval-check-output"]
ill_needed = np.arange(20, 401)
width = wilson_half_width(0.9, ill_needed)
enough = int(ill_needed[width <= 0.05][0])
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(ill_needed, 100 * width)
ax.axhline(5, color="black", lw=0.8, ls="--")
ax.set(xlabel="Ill patients in the study", ylabel="Half-width (percentage points)", ylim=(0, 15))
ax.grid(alpha=0.3)
plots.show(fig, alt=f"The half-width falls slowly; at {enough} ill patients it reaches 5 points.")
display(Markdown(f"For a sensitivity of 0.90, give or take 0.05: **{enough}** ill patients."))

# %% [markdown]
# The curve falls as one over the root: half the width takes four times the patients. And these are
# *ill* patients. If one in twenty of those who come is ill, twenty must be asked for each of them. That
# is an average: every other such study meets fewer ill than it needs, so recruit about a tenth more.
# If you want to say something about a subgroup, it needs that many ill of its own.
#
# ### Exercise: plan a study
#
# You expect a sensitivity of **0.85** and want its 95 % interval to be no wider than **0.04** to
# either side (half-width, Wilson). In your emergency ward **8 %** of those who get a chest film have
# pneumonia. How many patients must the study recruit, so that on average it meets enough ill ones?

# %% tags=["exercise"]
# solution: begin
sizes = np.arange(50, 2000)
# blank: sizes = ...  # numbers of ill patients to try, such as np.arange(50, 2000)
# blank: ill_patients = ...  # the smallest of them whose interval is narrow enough
# blank: recruit = ...  # how many must come, so that so many of them are ill (a whole number)
ill_patients = sizes[wilson_half_width(0.85, sizes) <= 0.04][0]
recruit = int(np.ceil(ill_patients / 0.08))
# solution: end
exercises.check("06-recruit", recruit)
# exercises.hint("06-recruit")  # take away the first # for a hint

# %% [markdown]
# ### Exercise: which validation was it?
#
# A network was trained on films of hospital A from 2019 to 2023 and fixed in January 2025. It was
# then tried on films of hospital B, taken in 2022 and chosen from its archive in 2025. What is this?
# Give one letter in quotes, as in `"a"`.
#
# - a) internal validation
# - b) external validation, on past films
# - c) external and prospective validation

# %% tags=["exercise"]
# solution: begin
validation = "b"
# solution: end
exercises.check("06-validation", validation)
# exercises.hint("06-validation")  # take away the first # for a hint

# %% [markdown]
# ## 4. Who permits it?
#
# **As of November 2026.** Most rules, dates and references were checked in that month against
# stored copies of the sources, or of agencies' and lawyers' summaries of them. Not at hand were the
# two IMDRF papers of 2013 and 2014, 21 CFR 807 and 814, section 515C, and the MDR's first day of
# application. The newest copies were of autumn 2026 for the AI Act, of May 2026 for the MDR and of
# spring 2026 for the FDA. Rules change: follow the links, and ask the person in charge of
# regulation before you act on this page. It is an introduction and no legal advice.
#
# Software that reads a film to help a decision about a patient is in most countries a *medical
# device*: software as a medical device, SaMD (IMDRF N10, 2013). The regulators' forum grades it by
# two questions (IMDRF N12, 2014): how ill are the patients, and what does the output do?
#
# | state of the patient | treat or diagnose | drive management (triage) | inform |
# |---|---|---|---|
# | critical | IV | III | II |
# | serious | III | II | I |
# | not serious | II | I | I |
#
# The *same network* moves through this table with what is said of it. "Sorts the worklist" and
# "rules out pneumonia" are two devices, though the network is one. The maker's sentence on what the
# software is for is its **intended use**, and everything else follows from it.
#
# ### United States: the FDA
#
# Some decision support is exempt from device rules, but never software that analyses a medical
# image (section 520(o)(1)(E) of the Food, Drug, and Cosmetic Act; the FDA's guidance on it is of January
# 2026). The FDA has three classes of devices: I (low risk), II (moderate) and III (high), a scale of its
# own, neither the table above nor the EU's. There are three roads (*510(k)* is the section of the Act on
# telling the FDA beforehand; *PMA* is premarket approval; *special controls* are conditions for one kind
# of device, such as a test that it must pass):
#
# | road | when | what must be shown | law |
# |---|---|---|---|
# | **510(k)** | a similar device is on the market | substantial equivalence to it | 21 CFR 807, subpart E |
# | **De Novo** | nothing similar, risk low or moderate | safe and effective, nearly always with special controls | 21 CFR 860, subpart D |
# | **PMA** | class III, high risk | safe and effective by valid scientific evidence | 21 CFR 814 |
#
# Software for films has entries of its own in the code, all of class II: image management and processing
# ([21 CFR 892.2050](https://www.ecfr.gov/current/title-21/section-892.2050)); analysers that mark a
# place for the reader
# ([892.2070](https://www.ecfr.gov/current/title-21/section-892.2070)), or also say what it is (892.2090,
# in the code since [June 2025](https://www.federalregister.gov/d/2025-10789)); triage and notification
# ([892.2080](https://www.ecfr.gov/current/title-21/section-892.2080), opened by a De Novo in
# February 2018 and written into the code in
# [January 2020](https://www.govinfo.gov/content/pkg/FR-2020-01-22/html/2020-00496.htm)). A network
# that moves likely pneumonias up the list would look for its predecessor in the last.
#
# What if the network is to be retrained? Normally a significant change needs a new submission. A
# **predetermined change control plan** (PCCP; section 515C of the Act, added in December 2022) names
# beforehand *what* may change, *how* each change will be validated, and *what could go wrong*. The
# [FDA's guidance](https://www.fda.gov/regulatory-information/search-fda-guidance-documents/marketing-submission-recommendations-predetermined-change-control-plan-artificial-intelligence)
# on it became final on 4 December 2024 and was issued anew on 18 August 2025. Another, on the whole life
# of AI-enabled devices (January 2025), was a draft when we last looked. The ten principles of *good
# machine learning practice* are international (IMDRF N88, January 2025): training and test sets
# apart, test patients like those to come, watching after release. You have practised most of them.
#
# The FDA keeps a [list of AI-enabled
# devices](https://www.fda.gov/medical-devices/software-medical-device-samd/artificial-intelligence-enabled-medical-devices).
# Those who count it found about 1,450 devices at the end of 2025, three in four of them for radiology.
# To be on the list says that a device may be sold, and nothing about the next hospital.
#
# ### European Union: MDR and AI Act
#
# - **MDR** (Medical Device Regulation), [Regulation (EU) 2017/745](https://eur-lex.europa.eu/eli/reg/2017/745/oj), applies since
#   26 May 2021. By rule 11 of Annex VIII, software whose information is used for diagnosis or
#   therapy is class IIa; IIb if a wrong decision may cause serious deterioration or an operation;
#   III if it may cause death or irreversible deterioration. From IIa on, a *notified body* checks (a
#   testing organisation that a state has named).
#   A proposal of December 2025 (COM(2025) 1023) would rewrite rule 11, and would take devices out of
#   most direct duties of the AI Act below. It had not passed when we last looked: look again.
# - **AI Act**, [Regulation (EU) 2024/1689](https://eur-lex.europa.eu/eli/reg/2024/1689/oj), comes on
#   top. A device that a notified body must check is a *high-risk* AI system (Article 6(1)). Then it
#   owes risk management, data governance (is the training set representative?), logging, human
#   oversight and a statement of accuracy. Hospitals that use it have duties as well. It was amended by
#   [Regulation (EU) 2026/1744](https://eur-lex.europa.eu/eli/reg/2026/1744/oj) (the "Digital Omnibus on
#   AI", in force since 27 July 2026), which moved dates and softened some duties.
#
# | from | what applies |
# |---|---|
# | 1 August 2024 | the Act is in force |
# | 2 February 2025 | forbidden practices; whoever offers or uses AI must see to it that staff learn about it (Article 4, softened in 2026) |
# | 2 August 2025 | rules for general-purpose models |
# | 2 August 2026 | the Act in general, such as the duty to say that one is an AI (Article 50) |
# | 2 December 2027 | high-risk duties for the uses listed in Annex III (first: 2 August 2026) |
# | 2 August 2028 | high-risk duties for AI in regulated products such as medical devices (first: 2 August 2027) |
#
# An approval says that a device may be *sold* for an intended use. It does not say that it works in
# *your* ward, with your machines and your patients. That is for you to measure, and section 3 says
# how.
#
# ## 5. Say it: a model card
#
# The last duty is to tell. A **model card** (Mitchell 2019) is the leaflet in the box: what it is
# for, who was measured, how well, where it fails. People write what only people know; numbers come
# from the computation, so that they cannot drift from it.

# %%
change = {
    key: f"{gap.loc[key, 'value']:+.2f} ({gap.loc[key, 'low']:+.2f} to {gap.loc[key, 'high']:+.2f})"
    for key in ("sensitivity", "specificity")
}
limits = "Not validated elsewhere. On the same films with more noise and less contrast, "
limits += f"sensitivity changed by {change['sensitivity']}, specificity by {change['specificity']}."

# %%
card = reports.ModelCard(
    name="A lesson's pneumonia classifier",
    version="1",
    intended_use="To teach how such a classifier is built, measured and described.",
    users="Learners and their teachers.",
    out_of_scope="Any patient. Any decision about care.",
    model="EfficientNet-Lite0, frozen, ImageNet weights; logistic regression on its features.",
    training_data=f"{len(data)} frontal chest films of {len(patients)} patients, cross-validated.",
    evaluation_data="The same patients, each judged by a classifier that never met them.",
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
# The card names what we left open, on the page itself. The table counts how many items of two
# reporting guidelines the numbers answer by themselves: TRIPOD+AI for prediction models (Collins
# 2024) and CLAIM for imaging (Tejani 2024). The rest only people can answer. Ours would not be ready
# to submit, and the list says why. The card in short:

# %%
told = pd.Series(asdict(card)).replace("", "(not stated)").to_frame("statement")
healthy, ill = overall.confusion.sum(axis=1)  # films, each rate counts its own
asked = {"sensitivity": f"{ill} ill", "specificity": f"{healthy} healthy", "auc": "all"}
for key, films in asked.items():
    told.loc[key] = f"{overall[key]:.2f}, on {films} films"
with pd.option_context("display.max_colwidth", None):
    display(told)

# %% [markdown]
# Do the intervals look unflattering? That is their use. A reader who must decide about Monday's
# ward needs to know how little is known.
#
# ### And a dataset card
#
# A network inherits what its films are. A **dataset card** (Gebru 2021 calls it a *datasheet*) says
# who is in the set, who is not, where the labels come from and what they may be used for. The
# counting part can be computed; the sample's [full card](/data/README.md) shows the rest.

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
# Where such a table says "NOT RECORDED" (the sample's does not; that of the famous children's films does,
# four times), that is a question that nobody will ever be able to ask of a network trained on the
# set. And one more line belongs on such a card, which no program can count: did the people in
# it agree, or who decided for them, and by what right?

# %%
shutil.rmtree(work)  # the secret goes as well

# %% [markdown]
# ## Key points
#
# - Identifiers hide in nested sequences, private elements and pixels. Take stock, treat, prove on
#   the bytes, report; then a person looks.
# - The shared folder may leave; the private one (secret, who became who) never does.
# - A group's result needs its interval and its count. No gap seen is not no gap.
# - More data from the missed group is the remedy that adds knowledge. Weights and a threshold of its
#   own move errors about.
# - Internal, external, prospective: each answers another question. Count the *ill* when planning.
# - The intended use decides the rules. Approval is not proof that it works in your ward.
# - A card with computed numbers and stated gaps is the end of the work, not an appendix.
#
# ## Further reading
#
# - Schwarz et al., *Identification of Anonymous MRI Research Participants with Face-Recognition
#   Software*, NEJM 2019, [doi:10.1056/NEJMc1908881](https://doi.org/10.1056/NEJMc1908881)
# - Packhäuser et al., *Deep learning-based patient re-identification is able to exploit the biometric
#   nature of medical chest X-ray data*, Scientific Reports 2022,
#   [doi:10.1038/s41598-022-19045-3](https://doi.org/10.1038/s41598-022-19045-3)
# - Obermeyer et al., *Dissecting racial bias in an algorithm used to manage the health of
#   populations*, Science 2019, [doi:10.1126/science.aax2342](https://doi.org/10.1126/science.aax2342)
# - Seyyed-Kalantari et al., *Underdiagnosis bias of artificial intelligence algorithms applied to
#   chest radiographs in under-served patient populations*, Nature Medicine 2021,
#   [doi:10.1038/s41591-021-01595-0](https://doi.org/10.1038/s41591-021-01595-0)
# - Sjoding et al., *Racial Bias in Pulse Oximetry Measurement*, NEJM 2020,
#   [doi:10.1056/NEJMc2029240](https://doi.org/10.1056/NEJMc2029240)
# - Gichoya et al., *AI recognition of patient race in medical imaging*, Lancet Digital Health 2022,
#   [doi:10.1016/S2589-7500(22)00063-2](https://doi.org/10.1016/S2589-7500%2822%2900063-2)
# - Chouldechova, *Fair prediction with disparate impact*, Big Data 2017,
#   [doi:10.1089/big.2016.0047](https://doi.org/10.1089/big.2016.0047)
# - Zech et al., *Variable generalization performance of a deep learning model to detect pneumonia in
#   chest radiographs*, PLOS Medicine 2018,
#   [doi:10.1371/journal.pmed.1002683](https://doi.org/10.1371/journal.pmed.1002683)
# - Wong et al., *External Validation of a Widely Implemented Proprietary Sepsis Prediction Model in
#   Hospitalized Patients*, JAMA Internal Medicine 2021,
#   [doi:10.1001/jamainternmed.2021.2626](https://doi.org/10.1001/jamainternmed.2021.2626)
# - Collins et al., *TRIPOD+AI statement*, BMJ 2024,
#   [doi:10.1136/bmj-2023-078378](https://doi.org/10.1136/bmj-2023-078378)
# - Tejani et al., *Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update*,
#   Radiology: Artificial Intelligence 2024,
#   [doi:10.1148/ryai.240300](https://doi.org/10.1148/ryai.240300)
# - Vasey et al., *Reporting guideline for the early-stage clinical evaluation of decision support
#   systems driven by artificial intelligence: DECIDE-AI*, Nature Medicine 2022,
#   [doi:10.1038/s41591-022-01772-9](https://doi.org/10.1038/s41591-022-01772-9)
# - Mitchell et al., *Model Cards for Model Reporting*, FAT* 2019,
#   [doi:10.1145/3287560.3287596](https://doi.org/10.1145/3287560.3287596)
# - Gebru et al., *Datasheets for Datasets*, Communications of the ACM 2021,
#   [doi:10.1145/3458723](https://doi.org/10.1145/3458723)
# - DICOM PS3.15, Annex E, [Attribute Confidentiality
#   Profiles](https://dicom.nema.org/medical/dicom/current/output/html/part15.html#chapter_E);
#   [45 CFR 164.514](https://www.ecfr.gov/current/title-45/section-164.514)
#
# ## Next step
#
# You have walked the whole way, from a file to a card. Bring your own films
# ([how](/notebooks/instructor/own-data.md)), with your hospital's leave, and start again at
# [1. Load](/notebooks/01_load.ipynb). You will read it with other eyes.

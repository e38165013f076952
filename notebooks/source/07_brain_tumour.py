# %% [markdown]
# # 7. Brain tumour: slices, patients and numbers without a unit
#
# {{badges}}
#
# **You will be able to**
#
# - read a head MR from NIfTI and from DICOM, and get the same volume in the same order;
# - normalise intensities that have no unit, and show what fails without it;
# - measure how much a split by slice flatters a model, even with nothing to learn;
# - report four classes by patient, and recognise a data set whose class is its source.
#
# **You need first:** [3. Fine-tune](/notebooks/03_finetune.ipynb) and
# [4. Evaluate](/notebooks/04_evaluate.ipynb).
#
# {{contract}}
#
# {{solutions}}

# %% [markdown]
# ## 1. The clinical question
#
# An MR of the head, made after a contrast agent was injected, shows a mass, or seems to. **Is there a
# tumour, and of which kind?** The three kinds here differ in what follows:
#
# - a **glioma** grows within the brain. The exact diagnosis needs tissue: the WHO classification of 2021
#   combines microscopy with molecular markers ([Louis et al.,
#   2021](https://doi.org/10.1093/neuonc/noab106));
# - a **meningioma** grows from the coverings of the brain. It is often diagnosed from images alone, and
#   about 80 % are benign (grade 1, [LaBella et al., 2024](https://doi.org/10.1038/s41597-024-03350-9));
# - a **pituitary tumour** grows at the base of the skull, below the crossing of the optic nerves, and
#   can harm vision ([Lithgow et al., 2019](https://doi.org/10.1530/EJE-19-0349)).
#
# So errors have unequal costs. Calling a glioma *no tumour* delays treatment; called *meningioma*, it may be
# watched instead of operated on. *No tumour* called *glioma* frightens a person and leads to another
# scan.

# %%
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medimg import datasets, exercises, explain, images, metrics, models, plots, training

dataset = datasets.choose("sample_brain", "brain-cheng", "brain-mri")

# %% [markdown]
# ## 2. The data and their traps
#
# Offline we use `sample_brain`: slices of 80 simulated heads, made from an average brain, with a drawn
# tumour of one of three kinds or none. For real images, set `MEDIMG_DATASET` to `brain-cheng` (3,064
# slices of 233 patients, three tumours, [Cheng et al.,
# 2015](https://doi.org/10.1371/journal.pone.0140381)) or to `brain-mri` (section 8), and `MEDIMG_DATA` to
# the folder.

# %% tags=["nbval-check-output"]
studies = datasets.load(dataset)
data = datasets.decode(studies, size=192)
studies.groupby("label").agg(slices=("path", "size"), patients=("patient_id", "nunique"))

# %% [markdown]
# The next cell says what is missing from your set, and what therefore cannot be shown.

# %% tags=["hide-input", "nbval-check-output"]
if not data.patients_known:
    print("This set names no patients, so each slice counts as one: section 4 scales by slice,",
          "section 5 cannot measure a leak, and all accuracies may be too high.", sep="\n")
if "notumor" not in data.classes:
    print("This set has no heads without a tumour, so nothing here measures a missed tumour.")
if "mask_path" not in studies:
    print("This set has no outlines of tumours, so section 7 cannot test its maps.")
rows = np.concatenate([np.flatnonzero(data.labels == k)[[0, 9]] for k in range(len(data.classes))])
pictures = [np.clip(data.images[row] / np.percentile(data.images[row], 99.5), 0, 1) for row in rows]
plots.show(plots.plot_grid(pictures, columns=4, titles=list(studies["label"].iloc[rows])),
           alt="Two slices per class: no mass, one inside the brain, one at its edge, or one at "
               "its base.")

# %% [markdown]
# Three traps:
#
# **Several slices of one patient.** Neighbouring slices are nearly the same picture.
#
# **No unit.** The numbers depend on the scanner, its settings and its software.
#
# **The level of the slice.** Pituitary tumours lie at one level. If other classes come from higher up, a
# network needs only the level. In our sample all classes have the same levels. Real sets also
# mix planes.
#
# ## 3. From volume to slices: NIfTI and DICOM
#
# Hospitals send a scan as DICOM, one file per slice; research sets are often NIfTI, one file per volume. We
# have one simulated head in both forms. By hand, they disagree.

# %% tags=["nbval-check-output"]
folder = Path(datasets.load("sample_brain")["path"].iloc[0]).parents[2] / "volume"
array = np.asarray(nibabel.load(folder / "head.nii.gz").dataobj)
headers = [images.read_header(path) for path in sorted((folder / "dicom").glob("*.dcm"))]
heights = [float(header.ImagePositionPatient[2]) for header in headers]
print("NIfTI:", array.shape, "- which axis is up?")
print("DICOM by file name, height in mm:", heights[:3], "... top first")

# %% [markdown]
# The axes differ, and file names say nothing about the order of slices. `read_series` takes the order
# from each slice's header and turns NIfTI the same way: one volume, seen from the feet (the patient's left
# is on your right).

# %% tags=["nbval-check-output"]
nifti = images.read_series(folder / "head.nii.gz")
dicom = images.read_series(folder / "dicom")
volume = dicom.values  # noqa: PD011 (slices, rows, columns)
print("equal:", bool((nifti.values == volume).all()))  # noqa: PD011
print("slices, rows, columns:", volume.shape, "mm:", [f"{step:.2f}" for step in dicom.spacing])

# %% tags=["hide-input", "nbval-check-output"]
picked = (volume[::3] / np.percentile(volume, 99.5)).clip(0, 1)
plots.show(plots.plot_grid(list(picked), columns=4,
                           titles=[f"{place:.0f} mm" for place in dicom.places[::3]]),
           alt="Seven slices from the base of the brain to the top of the head, in their order.")

# %% [markdown]
# ## 4. Numbers without a unit
#
# In CT, water is 0 everywhere. MR values have no unit and differ between visits and patients ([Shinohara
# et al., 2014](https://doi.org/10.1016/j.nicl.2014.08.008)). So we divide each **volume** by its own
# typical tissue: all slices of a patient together. Per slice, a large bright tumour would darken the
# brain around it.

# %%
def typical(volume):
    """Return the median of the tissue: of all values well above those of the air."""
    return np.median(volume[volume > 0.25 * np.percentile(volume, 98)])


def normalise(pixels, patients):
    """Scale each patient's slices together, so that the median of the tissue becomes 110."""
    scaled = np.empty_like(pixels)
    for patient in np.unique(patients):
        volume = pixels[patients == patient]
        scaled[patients == patient] = np.clip(volume * (110 / typical(volume)), 0, 255)
    return scaled


even = normalise(data.images, data.patients)

# %% tags=["hide-input", "nbval-check-output"]
for name, pixels in (("as stored", data.images), ("per volume", even)):
    levels = [typical(pixels[data.patients == patient]) for patient in np.unique(data.patients)]
    print(f"{name}: typical tissue from {min(levels):.0f} to {max(levels):.0f}")

# %% [markdown]
# Another scanner stores the same heads with numbers 0.4 times as large. (Real scanners also differ in
# contrast; no factor repairs that.) We train on one and test on the other, always on other patients. The
# model is a logistic regression on 64 principal components of a pretrained network's features. (Intervals
# from cross-validation are a little too narrow.)

# %%
net = models.build_model("efficientnet_lite0")
dark = (0.4 * data.images).astype(np.uint8)
pairs = {"as stored": (data.images, dark),
         "per volume": (even, normalise(dark, data.patients))}
features = {name: [training.extract_features(net, pixels) for pixels in pair]
            for name, pair in pairs.items()}

# %%
def predict(x, labels, groups, tested=None):
    """Return out-of-fold probabilities (N, K): no group is in two folds."""
    def judge(learn, rest):
        head = LogisticRegression(C=0.003)
        model = make_pipeline(StandardScaler(), PCA(64, random_state=0), head)
        model.fit(x[learn], labels[learn])
        return model.predict_proba((x if tested is None else tested)[rest])
    return training.cross_validate(judge, labels, groups)

# %%
def accuracy(scores, labels=data.labels):
    """Return the share of slices called correctly, with its interval by patient."""
    return metrics.share_by_patient(scores.argmax(axis=1) == labels, data.patient_ids)


scanners = pd.DataFrame({
    name: {scanner: accuracy(predict(same, data.labels, data.patients, tested))
           for scanner, tested in (("same scanner", same), ("other scanner", other))}
    for name, (same, other) in features.items()})
scanners.map("{:.2f}".format)

# %% tags=["hide-input", "nbval-check-output"]
lost = {name: column["same scanner"].value - column["other scanner"].value
        for name, column in scanners.items()}
print("as stored, accuracy lost on the other scanner:", lost["as stored"] > 0.05)
print("per volume, nearly nothing lost:              ", lost["per volume"] < 0.05)
if dataset == "brain-cheng":
    print("(`fetch` has scaled each slice of this set already, so little is left to normalise.)")

# %% [markdown]
# A reader adjusts the window without thinking. A network does not.
#
# ## 5. One patient on both sides
#
# We compare two cross-validations that differ in one argument. **By slice**, each slice is dealt to a
# fold by itself; **by patient**, all slices of a patient stay together. Then we repeat both with **random
# labels**, shuffled among the patients: there is nothing to learn. What accuracy do you expect?

# %%
x = features["per volume"][0]
names, person = np.unique(data.patients, return_inverse=True)
first = data.labels[np.unique(person, return_index=True)[1]]


def shuffled(seed):
    """Return a label for each slice: those of the patients, dealt out anew among them."""
    return np.random.default_rng(seed).permutation(first)[person]


groups = {"by slice": np.arange(len(data)), "by patient": data.patients}
true = {how: predict(x, data.labels, group) for how, group in groups.items()}

# %%
def by_luck(group, draws=3):
    """Return the accuracy with random labels, the mean of some draws."""
    hits = [predict(x, shuffled(seed), group).argmax(axis=1) == shuffled(seed)
            for seed in range(draws)]
    return metrics.share_by_patient(np.mean(hits, axis=0), data.patient_ids)


leak = pd.DataFrame({"true labels": {how: accuracy(scores) for how, scores in true.items()},
                     "random labels": {how: by_luck(group) for how, group in groups.items()}})
leak.map("{:.2f}".format)

# %% tags=["hide-input", "nbval-check-output"]
if not data.patients_known:
    print("No patients are named, so both rows are the same split: no leak can show here.")
chance = np.bincount(first).max() / len(first)
for name, column in leak.items():
    print(f"{name}: higher by slice", column["by slice"].value > column["by patient"].value + 0.03)
luck = leak["random labels"]
print("random labels, by slice, far above guessing:", luck["by slice"].low > chance)
print("random labels, by patient, no better than guessing:", luck["by patient"].low < chance)

# %% [markdown]
# By slice, a model "diagnoses" random labels. It recognises the **person**: skull, brain and tumour are
# those of other slices, whose label it knows. By patient it cannot, and the accuracy is that of guessing.
#
# On real MR of Alzheimer's and Parkinson's disease, a split by slice raised accuracy by 29 to 55 points;
# with random labels it gave 96 %, and a split by subject 50 % ([Yagis et al.,
# 2021](https://doi.org/10.1038/s41598-021-01681-w)).
#
# ### Exercise: a split that does not leak
#
# Write the test that finds such a leak. `patients` has the patient of each slice; `in_test` says whether
# the slice is in the test set. Return how many patients have slices on both sides.

# %% tags=["exercise"]
def leaked(patients, in_test):
    """Return how many patients have slices on both sides."""
    # solution: begin
    inside = {name for name, chosen in zip(patients, in_test, strict=True) if chosen}
    outside = {name for name, chosen in zip(patients, in_test, strict=True) if not chosen}
    return len(inside & outside)
    # solution: end


exercises.check("07-leaked", leaked)
# exercises.hint("07-leaked")  # remove the first # to see a hint

# %% [markdown]
# ### Exercise: your own split
#
# Now split `data` yourself, so that about a fifth of the patients are in the test set and `leaked` returns
# 0. Submit your list of True and False.

# %% tags=["exercise"]
# solution: begin
# blank: in_test = ...
chosen = np.random.default_rng(7).choice(names, len(names) // 5, replace=False)
in_test = np.isin(data.patients, chosen)
# solution: end
exercises.check("07-split", in_test, patients=data.patients)
# exercises.hint("07-split")  # remove the first # to see a hint

# %% [markdown]
# ## 6. Four classes, one patient
#
# The decision is about the patient, so we average the probabilities of each patient's slices.

# %%
slices = metrics.Predictions(
    data.ids, data.labels, true["by patient"], data.patient_ids, data.classes)
units = slices.aggregate("patient", how="mean") if data.patients_known else slices
report = metrics.evaluate(units)

# %% tags=["hide-input"]
plots.show(plots.plot_confusion(report.confusion).figure,
           alt=f"Confusion matrix: {np.trace(report.confusion)} of {len(units)} called correctly.")

# %% tags=["hide-input"]
each = report.per_class[report.per_class["metric"].isin(["recall", "sensitivity", "auc"])]
each.set_index("class")[["metric", "value", "low", "high"]].round(2)

# %% [markdown]
# Read the rows first: of the patients with a glioma, how many were called *no tumour*? Then the column
# *notumor*: below its first cell, it holds all missed tumours. Each class has few patients, so the
# intervals are wide.
#
# ## 7. Where did it look?
#
# We train on the training patients and explain slices of test patients. Where the tumour's outline is
# known, we can test the map: is its hottest point inside?

# %%
part = replace(data, images=even)
model = models.build_model("efficientnet_lite0", classes=data.classes)
model = training.fit_head(model, part.subset("train"), C=0.003).model
test = part.subset("test")
sick = np.flatnonzero(test.labels == data.classes.index("pituitary"))
heat = explain.explain(model, test.images[sick], method="gradcam", target="pituitary")

# %% tags=["hide-input", "nbval-check-output"]
if "mask_path" in studies:
    masks = datasets.decode_masks(studies, size=192)[data.splits == "test"][sick]
    hit = explain.pointing_game(heat, masks, patient_ids=test.patients[sick])
    print("hottest point inside the tumour in most slices:", hit.estimate.value > 0.5)
    fig = plots.plot_map_grid(test.images[sick][:9:4], {"Grad-CAM": heat[:9:4]}, masks=masks[:9:4])
    plots.show(fig, alt="Three pituitary tumours with Grad-CAM: large warm areas that do not "
               "follow the small true outline.", colours=256)
else:
    print("No outlines: whether the hottest point is inside the tumour cannot be tested.")

# %% [markdown]
# In our sample this class has a high AUC (section 6), yet the hottest point is mostly off the tumour. One
# cell of the map is 32 pixels wide, about as wide as the tumour, and the features were not trained on
# heads. So the map neither supports nor refutes the result. An experiment can: remove the tumour, or
# change the scanner, and see whether the answer changes ([notebook 5](/notebooks/05_explain.ipynb)).
#
# ## 8. When the class is the source
#
# A much used set on Kaggle
# ([Nickparvar](https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset)) has 7,023
# images. Its page says that it joins three sources, that the glioma images of one seemed wrong and were
# replaced by Cheng's, and that **all images without a tumour come from another source**. It names no
# patients, so nobody can split it by patient.
#
# We can build that fault. Suppose that all heads of the first class come from a scanner that blurs a
# little. How well are its slices told from the rest, split by patient, before and after?

# %%
first_class = data.labels == 0
soft = training.extract_features(net, gaussian_filter(even, (0, 0.8, 0.8)))


def auc_of_first(trained, tested=None):
    """Return the AUC of the first class's slices against the rest, split by patient."""
    score = predict(trained, data.labels, data.patients, tested)[:, 0]
    return metrics.auc(metrics.Predictions(data.ids, first_class, score, data.patient_ids))


tied = np.where(first_class[:, None], soft, x)
turned = np.where(first_class[:, None], x, soft)
sources = pd.Series({"one source": auc_of_first(x), "class tied to source": auc_of_first(tied),
                     "the same model, tie turned round": auc_of_first(tied, turned)})
sources.map("{:.2f}".format)

# %% tags=["hide-input", "nbval-check-output"]
print("tied: higher than before: ", sources.iloc[1].value > sources.iloc[0].value)
print("turned round: far lower:  ", sources.iloc[2].value < sources.iloc[1].value - 0.2)

# %% [markdown]
# The rise may be chance; the fall is not. No split by patient helps against that: see
# [notebook 10](/notebooks/10_covid.ipynb).
#
# ### Exercise: which result do you believe?
#
# Four papers report an accuracy on Cheng's set. Whose design leaks, or cannot show that it does not?
# Submit a list of letters.
#
# - **a** the 3,064 slices were shuffled, 80 % for training;
# - **b** the 233 patients were dealt into five folds;
# - **c** slices were split by patient, and then augmented copies were made of the training slices;
# - **d** each slice was copied with rotations, then all were shuffled into five folds.

# %% tags=["exercise"]
# solution: begin
leaky = ["a", "d"]
# solution: end
exercises.check("07-designs", leaky)
# exercises.hint("07-designs")  # remove the first # to see a hint

# %% [markdown]
# ## 9. What stands in the way of use
#
# - **A scan is more than one slice.** Here somebody chose slices that show the tumour. In use most slices
#   show none, and their mean would hide a small tumour.
# - **Other findings.** Metastases (tumours spread from elsewhere, the most common in the brain, [Johnson
#   et al., 1996](https://pubmed.ncbi.nlm.nih.gov/8823767/)), abscesses and bleeding have no class here, so
#   each gets a wrong one.
# - **Tissue decides.** For a glioma the treatment depends on markers that no class here names.
# - **Evidence.** In a review, 26 articles report accuracies of 91.63 to 100 % for these three tumours
#   ([Xie et al., 2022](https://doi.org/10.3390/diagnostics12081850)). Ask how each was split.
#
# **Our sample can show** what a split, a scale and a source do to a result: we know that nothing else
# differs. **It cannot show** how well tumours are told apart in patients: one average brain lies under
# all heads, and formulas drew the tumours.
#
# ## Key points
#
# - The slice is not the unit: split by patient, report by patient, and prove that nobody is on both sides.
# - Random labels test the split, not the source: the result must be guessing.
# - MR intensities have no unit. Normalise per volume, in training and in use.
# - Sort slices by the position in their header, never by file name.
# - Ask where each class comes from. If a class has its own source, the score measures the source.
#
# ## Further reading
#
# - [Yagis et al. 2021](https://doi.org/10.1038/s41598-021-01681-w): leaks by slice
# - [Shinohara et al. 2014](https://doi.org/10.1016/j.nicl.2014.08.008): normalising MR
# - [Xie et al. 2022](https://doi.org/10.3390/diagnostics12081850): the review
#
# ## Next step
#
# [8. Diabetic retinopathy](/notebooks/08_retinopathy.ipynb): colour, ordered grades, and two eyes of one
# person.

# %% [markdown]
# # Quickstart: from an X-ray file to a model you can argue with
#
# {{badges}}
#
# **You will be able to**
#
# - open a chest radiograph the way a hospital sends it, and read what it says about itself;
# - teach a network that has already learned to see to tell *pneumonia* from *normal*;
# - measure it as a clinical paper would, with an interval around every number;
# - look at *where* it looked, beside the place where the disease really is.
#
# **You need first:** some Python (loops, functions, a little NumPy). No GPU, no download, no
# medical knowledge. Words that look like links lead to the [glossary](/notebooks/glossary.md).
#
# {{contract}}
#
# {{solutions}}

# %% [markdown]
# ## 1. What we work on
#
# The course ships with 100 chest radiographs. They were *simulated* from a real CT scan: X-rays
# were sent through it by computer, and in some of the simulated people a pneumonia was placed
# in one lung or in both. So no hospital's files are involved (the scan beneath was de-identified and
# published by its owners), and we know to the pixel where each disease is.
#
# Everything runs on real radiographs too, once they are on your disk: `MEDIMG_DATASET` names the set
# ([how](/README.md#real-images)). Start with Python's side of things: a handful of imports, and one
# random generator, so that your run makes the same draws as ours; the scores of trained networks may
# differ a little between processors. (`replace`, which you will meet often, copies a set of settings and
# changes one or two of them.)

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display

from medimg import augment, datasets, exercises, explain, images, metrics, models, plots, training

rng = np.random.default_rng(7)

# %% [markdown]
# `datasets.load` returns a *study table*: one row an image, with its file, its label, and the
# **patient** it came from. The last column matters more than it seems, as you will see in a minute.
# `datasets.subsample` takes at most so many of each split from a large set; ours has 70, 15 and 15 in all.

# %% tags=["nbval-check-output"]
studies = datasets.load()
studies = datasets.subsample(studies, {"train": 70, "val": 30, "test": 100}, rng=rng)
studies[["image_id", "label", "split", "patient_id"]].head(4)

# %% [markdown]
# ## 2. Look at one file
#
# Hospitals exchange images as DICOM files. A DICOM file is a *header* (who, when, which machine,
# how to show the picture) and the *pixels*. Here is part of the header of one of our radiographs.

# %% tags=["nbval-check-output"]
sample = datasets.load("sample")
film = sample.sort_values("severity").iloc[-1]  # the gravest pneumonia of the sample
header = images.read_header(film["dicom_path"])
for name in ["PatientName", "PatientAge", "Modality", "ViewPosition", "Rows", "Columns",
             "BitsStored", "PhotometricInterpretation"]:
    print(f"{name:26} {header.get(name)}")

# %% [markdown]
# Read it like a radiographer: *Modality* DX is digital X-ray; *ViewPosition* PA means the rays
# entered at the back and came out at the front, AP the other way round (in bed, for instance).
# *BitsStored* tells how many grey levels the file can hold: 10 bits are 1,024 levels, 12 bits
# 4,096, 14 bits 16,384. Your screen shows 256. **Photometric interpretation** says whether a large
# number is to be shown white (MONOCHROME2) or black (MONOCHROME1). A reader that ignores it shows a
# negative, silently.
#
# `images.read_image` does all of this in the order that the DICOM standard prescribes, and gives
# an array of numbers from 0 (black, air) to 1 (white, dense: bone, heart, and *fluid in a lung*).

# %% tags=["nbval-check-output"]
image = images.read_image(film["dicom_path"])
print(f"{image.shape[0]} rows x {image.shape[1]} columns, {image.dtype}, "
      f"from {image.min():.2f} to {image.max():.2f}")

# %% tags=["nbval-check-output"]
truth = images.read_image(film["mask_path"]) > 0.5
fig = plots.plot_grid([image, np.where(truth, image, 0.3 * image)], columns=2,
                      titles=["as the header says to show it", "where disease was put"])
plots.show(fig, alt="A chest radiograph, and the same darkened except where disease was put: "
           "most of both lungs.", colours=128)

# %% [markdown]
# The lungs are dark because they are full of air. Pneumonia mostly fills small airspaces with fluid
# and cells: a patch of lung turns whiter (an *opacity*), its vessels fade, and the border of heart
# or diaphragm beside it may vanish. Some kinds draw a fine net instead. It can be very little. (The
# outline is generous: it holds more than the eye sees as white.) *Your left is the patient's
# right*: the patient faces you.
#
# ## 3. Look at the classes
#
# Before any network: look at many images of each class. Eyes find a swapped label, an inverted
# picture or a text in the corner faster than any program.

# %% tags=["nbval-check-output"]
shown = studies[studies["split"] == "train"].assign(title=studies["label"])
if "subtle" in set(shown.get("grade", ())):  # the sample says how strong a lesion is: two faint ones
    faint = shown["grade"] == "subtle"
    shown = shown[~faint | (faint.cumsum() <= 2)].assign(strong=~faint)
    shown = shown.sort_values("strong", kind="stable")
    shown["title"] += (", " + shown["grade"]).where(shown["grade"] != "none", "")
shown = shown.groupby("label").head(4)
shown = shown.sort_values("label", key=lambda s: s.map(datasets.class_names(studies).index),
                          kind="stable")
squares = [images.resize(images.read_image(p), 224, keep_aspect=True) for p in shown["path"]]
fig = plots.plot_grid(squares, titles=list(shown["title"]), columns=4)
plots.show(fig, alt="Two rows of chest radiographs: normal above, pneumonia below.", colours=128)

# %% [markdown]
# Could you tell the rows apart without the titles? Where the data set knows how strongly a disease was
# drawn, the title says so, from *subtle* to *gross*. Faint is not the same as hard to see: a subtle
# one may lie in the open, and a stronger one behind the heart or the diaphragm. Be honest: which of them
# would you have missed?
#
# ### Three piles, and each patient in just one
#
# We learn from the **training** images, make decisions (when to stop, where to put a threshold) on
# the **validation** images, and touch the **test** images once, at the end. Two films of one person
# look alike. If one were in training and the other in the test, the network could score by
# recognising the *person*. So we split by patient, never by image.

# %% tags=["nbval-check-output"]
classes = datasets.class_names(studies)
counts = studies.groupby(["split", "label"]).size().unstack(fill_value=0)
counts = counts.loc[["train", "val", "test"], list(classes)]
shared = studies.groupby("patient_id")["split"].nunique().max() - 1
ax = plots.plot_split(counts.to_numpy(), splits=list(counts.index), classes=classes)
plots.show(ax.figure, alt=f"Images in each split, by class: {counts.to_dict('index')}.")
display(Markdown(f"Patients that are in more than one split: **{shared}**."))

# %% [markdown]
# ## 4. Prepare and augment
#
# A network wants images of one size. `datasets.decode` reads each file *once*, resizes it to 224 by
# 224 pixels and keeps it as bytes, so that no epoch of training waits for a file again.

# %% tags=["nbval-check-output"]
data = datasets.decode(studies, size=224)
train, val, test = (data.subset(split) for split in ("train", "val", "test"))
train

# %% [markdown]
# A few dozen images are not much. **Augmentation** shows the network each film a little changed at
# every pass: turned by a few degrees, nearer or farther, brighter or darker, as if the patient had
# stood differently or the radiographer had chosen another exposure. A change is fair only if it
# could have happened. Mirroring, popular elsewhere, would put the heart on the wrong side of the
# chest, so it is off unless you ask. Here is one change at a time.

# %% tags=["nbval-check-output"]
film_batch = torch.from_numpy(train.images[:1, None] / 255).float()  # (1, 1, 224, 224)
changes = {"rotation": {"rotate": 15}, "zoom": {"zoom": (1.2, 1.3)}, "flip": {"flip": 1.0},
           "brightness": {"brightness": 0.3}, "contrast": {"contrast": 0.6}}
views = [film_batch]
for change in changes.values():
    settings = replace(augment.Augment.none(), **change)
    views.append(augment.augment(film_batch, settings, generator=torch.Generator().manual_seed(3)))
fig = plots.plot_grid(torch.cat(views)[:, 0].numpy(), titles=["the film", *changes], columns=3)
plots.show(fig, alt="One film, and five copies of it: rotated, magnified, mirrored, brighter or "
           "darker, flatter or starker. Only the mirrored one could not be this patient.",
           colours=128)

# %% [markdown]
# ## 5. Fine-tune a pretrained network
#
# Training a network from nothing takes hundreds of thousands of images. We have a few dozen. So we
# borrow a network, an **EfficientNet**, that has learned edges, textures and shapes from 1.3
# million photographs, and go on from there, in two stages:
#
# 1. **The head.** The network turns a film into 1,280 numbers (its *features*). We keep it as it is
#    and fit only the last layer, the *head*, which weighs these numbers into a score.
# 2. **The whole network.** Then everything may move, slowly, so that little is forgotten. After
#    every pass (an *epoch*) the network is tried on the validation images. When it stops getting
#    better, training stops, and the best epoch is kept: *early stopping*.
#
# The two classes are not equally large, so an error on a film of the smaller class is made to weigh
# more (*class weights*); otherwise the network could do well by naming the larger one too often.
#
# The table below has one row an epoch. The *loss* says how wrong the network is, and small is good.
# Epoch 1 has no training loss, because the head is not trained in steps: it is solved exactly.

# %%
model = models.build_model("efficientnet_lite0", classes=classes)
settings = replace(training.recipe(len(train)), strategy="head_then_all", epochs=3,
                   class_weights="balanced")
result = training.fit(model, train, val, settings=settings)
display(result.history[["train_loss", "val_loss", "val_auc"]].round(3).astype(object).fillna(""))
print(f"kept: the network as it was after epoch {result.best_epoch}")

# %%
ax = plots.plot_history(result.history)
plots.show(ax.figure, alt="Loss on training and validation images, and the validation AUC, after "
           "each epoch.")

# %% [markdown]
# Read such curves from left to right: while both fall, the network learns; when training falls and
# validation rises, it has begun to learn the training films by heart. With so few films the second
# stage may gain nothing; early stopping then keeps the first. The epoch that is kept is the one with
# the lowest *validation loss* (where two look alike, a further decimal decides), even if another has
# a higher AUC: on so few films the AUC moves in jumps.
#
# ## 6. Measure it as a clinician would
#
# The network gives each film a score between 0 and 1. To call a film "pneumonia" we need a
# **threshold**, and choosing it on the test images would be cheating. We choose it on the
# validation images, and take care not to miss pneumonias: the rule is to find at least nine of ten.
# (Of a handful of ill films that means all, so the threshold may lie low, far from 0.5.)

# %%
val_scores = training.predict(result.model, val)
threshold = metrics.choose_threshold(val_scores, rule="sensitivity", floor=0.9)
test_scores = training.predict(result.model, test)
evaluation = metrics.evaluate(test_scores, threshold=threshold)
print(threshold)

# %% [markdown]
# Now, and only now, the test images. The **ROC curve** shows what every possible threshold would
# give: how many of the ill are found (up is good) against how many healthy people are alarmed
# (left is good). The area under it, the **AUC**, has a plain meaning: take one ill and one healthy
# person at random; the AUC is the chance that the ill one has the higher score. The dot is our
# threshold; its bars are the intervals of both shares.

# %% tags=["headline"]
auc = evaluation["auc"]
ax = plots.plot_roc(test_scores, threshold=threshold)
plots.show(ax.figure, alt=f"ROC curve of the test images; the area under it is {auc.value:.2f}.")
wide = auc.high - auc.low > 0.1
display(Markdown(
    f"On **{len(test)} test images** of {test_scores.n_patients} patients the AUC is "
    f"**{auc.value:.2f}**, with a 95 % interval from {auc.low:.2f} to {auc.high:.2f}. The interval "
    f"is {'wide: so few images cannot say more' if wide else 'narrow enough to say something'}."))

# %% [markdown]
# The interval is the honest part. It says how far the number could have been off had we met other
# patients. A paper that reports an AUC from a small test set without an interval hides the most
# important thing.
#
# With the threshold applied, every test film falls into one of four boxes.

# %% tags=["nbval-check-output"]
ax = plots.plot_confusion(evaluation)
plots.show(ax.figure, alt="Confusion matrix: true class by row, called class by column.")

# %% [markdown]
# From these four numbers come the questions that a clinician asks:
#
# - **Sensitivity**: of the ill, how many did we find?
# - **Specificity**: of the healthy, how many did we leave in peace?
# - **PPV**: of those called ill, how many are?
# - **NPV**: of those called healthy, how many are?

# %%
names = ["sensitivity", "specificity", "ppv", "npv", "accuracy", "auc"]
evaluation.table.loc[names, ["value", "low", "high", "method"]].round(2)

# %% [markdown]
# (*Effective size*: two films of one patient count for less than two patients. *Obuchowski*: who worked
# out DeLong's interval for that. The column names the formula; skip it until notebook 4.)
#
# PPV and NPV hold *only* where as many people are ill as in this test set. Where one in a hundred
# is, as when healthy people are screened, the same network would raise mostly false alarms. Notebook
# [4](/notebooks/04_evaluate.ipynb) lets you move that dial.
#
# ### Exercise: read a confusion matrix
#
# Another network was tried on 200 films. Of 80 ill people it called 72 ill; of 120 healthy ones it
# called 30 ill. What is its **positive predictive value**, to two decimals?

# %% tags=["exercise"]
found_ill, all_ill = 72, 80
false_alarms, all_healthy = 30, 120
# solution: begin
ppv = found_ill / (found_ill + false_alarms)
# solution: end
exercises.check("00-ppv", ppv)
# exercises.hint("00-ppv")  # take away the first # for a hint

# %% [markdown]
# ## 7. Where did it look?
#
# A good score can have bad reasons: a marker in the corner, a hospital's habit. **Grad-CAM** asks
# the network which places of the film raised its pneumonia score. We show it for ill test films,
# with the outline of the true lesion where the data set knows it.

# %%
ill = np.flatnonzero(test.labels == 1)[:4]
maps = explain.explain(result.model, test.images[ill], method="gradcam", target=1)
rows = studies[studies["split"] == "test"].iloc[ill]
truths = datasets.decode_masks(rows) if "mask_path" in rows else [None] * len(ill)
fig, axes = plt.subplots(2, 4, figsize=(7, 3.7), layout="constrained")
for (top, bottom), row, heat, truth in zip(axes.T, ill, maps, truths, strict=True):
    plots.plot_image(test.images[row], title=f"score {test_scores.y_score[row]:.2f}", ax=top)
    plots.plot_map(test.images[row], heat, mask=truth, ax=bottom)
plots.show(fig, alt="Above: four ill test films with their scores. Below: where Grad-CAM says the "
           "network looked, and the outline of the true lesion.", colours=256)

# %% [markdown]
# The white line goes round the places where the map is at least half as bright as at its brightest;
# the dashed line is the lesion, where it is known. Where the bright region lies within that
# outline, the network looked at the place of the disease. Where it lies elsewhere (the edge of the
# film, a letter, an arm), ask why, even if the answer was right. (An outline may cover the heart or
# the belly: the lungs reach down behind both, and so does disease.) A map like this is a *hint*,
# not a proof: notebook [5](/notebooks/05_explain.ipynb) puts such maps to the test, and shows one
# that looks right for the wrong reason.
#
# ## 8. Predict an image of your own
#
# Any DICOM, PNG, JPEG or TIFF file will do. Put its path in place of ours. A photograph of your cat
# gets a score as well: the network knows two answers and has no way to say "this is no chest".

# %%
path = rows["path"].iloc[0]
own = datasets.decode_file(path, 224)  # uint8 (224, 224), just as `decode` made the others
logits = training.predict_logits(result.model, own[None])
score = training.probabilities(logits)[0]
verdict = classes[1] if score >= threshold.value else classes[0]
display(Markdown(f"Score **{score:.2f}**, threshold {threshold.value:.2f}: called **{verdict}**."))

# %% [markdown]
# ## 9. What this must not be used for
#
# - **Not for any patient.** This is a lesson, not a medical device: nobody has validated or cleared
#   it ([notebook 6](/notebooks/06_ethics.ipynb) says what that would take).
# - **Not as evidence about real pneumonia.** The sample is simulated. A score on it says that the
#   method works, not that it works in a hospital.
# - **Not across populations.** A network that learned from one hospital's films often fails on
#   another's, and neither its score nor its heat map will tell you.
#
# ## Key points
#
# - A DICOM file is a header and pixels; show the pixels the way the header says.
# - Split by patient. Decide on validation images. Touch the test images once.
# - Give every number its interval, and say for which population a PPV holds.
# - Look at what the network looked at, and do not take the picture for a proof.
#
# ## Further reading
#
# - Kermany et al., *Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep
#   Learning*, Cell 2018, [doi:10.1016/j.cell.2018.02.010](https://doi.org/10.1016/j.cell.2018.02.010)
# - Selvaraju et al., *Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
#   Localization*, ICCV 2017, [doi:10.1109/ICCV.2017.74](https://doi.org/10.1109/ICCV.2017.74)
# - Zech et al., *Variable generalization performance of a deep learning model to detect pneumonia
#   in chest radiographs*, PLOS Medicine 2018,
#   [doi:10.1371/journal.pmed.1002683](https://doi.org/10.1371/journal.pmed.1002683)
#
# ## Next step
#
# [1. Load](/notebooks/01_load.ipynb) takes the first step apart: what the numbers in a file mean.

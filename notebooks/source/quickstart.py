# %% [markdown]
# # Quickstart: from an X-ray file to a tested model
#
# {{badges}}
#
# **You will be able to**
#
# - open a chest radiograph in the format that hospitals use, and read its header;
# - fine-tune a pretrained network to distinguish *pneumonia* from *normal*;
# - evaluate it as a clinical paper would, with a confidence interval for every number;
# - compare where the network looked with where the disease is.
#
# **You need first:** some Python (loops, functions, a little NumPy). No GPU, no download, no medical
# knowledge. You need not understand every line of code: read the text, run the cell, look at the result.
# Linked terms lead to the [glossary](/notebooks/glossary.md).
#
# {{contract}}
#
# {{solutions}}

# %% [markdown]
# ## 1. The data
#
# The course includes 100 *simulated* chest radiographs. A program started from one real chest CT. It
# changed the shape of this chest a little for each simulated person, and computed the radiograph. In some
# of these people it added pneumonia in one or both lungs, so we know exactly where the disease is.
# "Normal" means only that none was added. The owners of the CT de-identified and published it.
#
# The code also runs on real radiographs: see [how to choose them](/README.md#real-images).
#
# First come the imports and a generator of random numbers. It starts from a fixed number, its *seed*, so
# the random numbers are the same in every run. The scores of trained networks may still differ a little
# between computers. (`torch` is PyTorch, the library that trains the networks. `replace` copies settings
# and changes some of them.)

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display

from medimg import augment, datasets, exercises, explain, images, metrics, models, plots, training

rng = np.random.default_rng(7)

# %% [markdown]
# `datasets.load` returns a *study table*: one row per image, with its file, its **label** (the right
# answer), and the **patient**. The *split* says what the image is used for (section 3).
# `datasets.subsample` limits the number of images in each split; our small sample stays complete.

# %% tags=["nbval-check-output"]
studies = datasets.load(classes=2)
studies = datasets.subsample(studies, {"train": 70, "val": 30, "test": 100}, rng=rng)
studies[["image_id", "label", "split", "patient_id"]].head(4)

# %% [markdown]
# ## 2. Look at one file
#
# Hospitals exchange images as DICOM files. Each has a *header* (who, when, which machine, how to display
# the image) and *pixels*. Here is part of one header. (The name is invented. In the code, a `film` is a
# radiograph.)

# %% tags=["nbval-check-output"]
sample = datasets.load("sample")
film = sample.sort_values("severity").iloc[-1]  # the most severe pneumonia of the sample
header = images.read_header(film["dicom_path"])
for name in ["PatientName", "PatientAge", "Modality", "ViewPosition", "Rows", "Columns",
             "BitsStored", "PhotometricInterpretation"]:
    print(f"{name:26} {header.get(name)}")

# %% [markdown]
# - *PatientAge* 030Y is 30 years. *Modality* DX is digital radiography.
# - *ViewPosition* is the direction of the X-rays: PA is from back to front, AP from front to back (often
#   in bed).
# - *BitsStored* gives the number of grey levels that fit in the file: 10 bits are 1,024 levels, 12 bits
#   4,096, 14 bits 16,384. An ordinary screen shows 256.
# - **PhotometricInterpretation** says whether large numbers are displayed white (MONOCHROME2) or black
#   (MONOCHROME1). A program that ignores it can show an inverted image without any warning.
#
# `images.read_image` follows the DICOM standard and returns numbers from 0 (black) to 1 (white). Air
# appears dark; bone, the heart, and *fluid in a lung* appear bright.
#
# A second file, the *mask*, marks the pixels where disease was added. Below, the right picture darkens all
# other pixels.

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
# *The patient's right side is on your left*, as if the patient were facing you.
#
# The lungs are dark because they are full of air. In pneumonia, fluid and cells usually fill small air
# spaces, so a part of the lung looks whiter (an *opacity*). Its vessels are harder to see, and the border
# of the heart or diaphragm next to it may disappear. Some kinds show a fine network of lines instead. The
# signs can be faint. (The marked area is large: it includes changes that nobody could see.)
#
# A radiograph alone is not enough for a diagnosis. Other diseases cause opacities too, and a normal
# radiograph does not exclude pneumonia. In one study, radiographs showed opacities in fewer than half of
# the patients whose CT showed them ([Self 2013](https://doi.org/10.1016/j.ajem.2012.08.041)).
# Radiologists also use symptoms, lateral views, and earlier images.
#
# ## 3. Look at the classes
#
# Before training, look at many images of each class. You may find wrong labels, inverted images, or text
# in a corner.

# %% tags=["nbval-check-output", "hide-input"]
shown = studies[studies["split"] == "train"].assign(title=studies["label"])
if "weak" in set(shown.get("grade", ())):  # as our sample says: show two weak, hidden ones
    faint = shown["grade"].eq("weak") & shown["place"].ne("open")
    shown = shown[~faint | (faint.cumsum() <= 2)].assign(strong=~faint)
    shown = shown.sort_values("strong", kind="stable")
    shown["title"] += (", " + shown["grade"]).where(shown["grade"] != "none", "")
shown = shown.groupby("label").head(4).sort_values(
    "label", key=lambda s: s.map(datasets.class_names(studies).index), kind="stable")
squares = [images.resize(images.read_image(p), 224, keep_aspect=True) for p in shown["path"]]
fig = plots.plot_grid(squares, titles=list(shown["title"]), columns=4)
plots.show(fig, alt="Chest radiographs. Above, normal: dark lungs. Below, pneumonia: grey or "
           "white areas in the lungs, faint in some.", colours=128)

# %% [markdown]
# Could you say which row is which without the titles? *Weak*, *medium* and *strong* say how
# strongly the disease was drawn, not how easy it is to see: a strong opacity may lie behind the heart or
# the diaphragm.
#
# ### Three splits, and each patient in only one
#
# We divide the images into three *splits*. The network learns from the **training images** (*train*). We
# make decisions, such as when to stop training, on the **validation images** (*val*). We use the **test
# images** once, at the end. Two images of the same person look alike. If one is in training and the other
# in the test set, the network can get a good result because it recognises the *person*. So we split by
# patient, never by image.

# %% tags=["nbval-check-output"]
classes = datasets.class_names(studies)
counts = studies.groupby(["split", "label"]).size().unstack(fill_value=0)
counts = counts.loc[["test", "val", "train"], list(classes)]
shared = studies.groupby("patient_id")["split"].nunique().max() - 1
ax = counts.plot.barh(stacked=True, width=0.8, figsize=(5, 2.4), cmap="Set2", ylabel="")
for bars in ax.containers:
    ax.bar_label(bars, label_type="center")
ax.set_xlabel("images")
numbers = ", ".join(f"{name} {count}" for name, count in counts.sum(axis=1).items())
plots.show(ax.figure, alt=f"Images in each split: {numbers}; both classes in each.")
display(Markdown(f"Patients that are in more than one split: **{shared}**."))

# %% [markdown]
# ## 4. Prepare and augment
#
# The network needs images of one size. `datasets.decode` reads each file *once*, resizes it to 224 by
# 224 pixels, and keeps it in memory.

# %% tags=["nbval-check-output"]
data = datasets.decode(studies, size=224)
train, val, test = (data.subset(split) for split in ("train", "val", "test"))
train

# %% [markdown]
# We have few images. **Augmentation** changes each image a little every time the network sees it: its
# angle, size, brightness and contrast. Such differences also come from the patient's position and from
# image processing. (In digital radiography, software adjusts the brightness, and a low exposure appears as
# noise.)
#
# Use a change only if it could occur in a real image and keeps the diagnosis. A left-right flip would
# put the heart on the wrong side, so it is off by default.

# %% tags=["nbval-check-output"]
# PyTorch wants arrays of (images, channels, rows, columns); grey has one channel.
film_batch = torch.from_numpy(train.images[:1, None] / 255).float()  # (1, 1, 224, 224)
changes = {"rotation": {"rotate": 15}, "zoom": {"zoom": (1.2, 1.3)}, "flip": {"flip": 1.0},
           "brightness": {"brightness": 0.3}, "contrast": {"contrast": 0.6}}
views = [film_batch]
for change in changes.values():
    settings = replace(augment.Augment.none(), **change)
    views.append(augment.augment(film_batch, settings, generator=torch.Generator().manual_seed(3)))
fig = plots.plot_grid(torch.cat(views)[:, 0].numpy(), titles=["the image", *changes], columns=3)
plots.show(fig, alt="One image, and five copies of it: rotated, magnified, mirrored, brighter or "
           "darker, less or more contrast. Only the mirrored one could not be this patient.",
           colours=128)

# %% [markdown]
# ## 5. Fine-tune a pretrained network
#
# A network is a long formula. It contains millions of numbers, its *weights*, and it computes in steps,
# its *layers*. Training changes the weights until the answers are mostly right. If the weights are random
# at first, this usually needs many thousands of images. We have far fewer. So we start from an
# **EfficientNet** that has learned edges, textures and shapes from 1.3 million photographs (ImageNet). We
# train in two stages:
#
# 1. **The head.** The network turns an image into 1,280 numbers (its *features*). We train only the last
#    layer, the *head*, which combines these numbers into a score.
# 2. **The whole network.** Then we train all layers, in small steps, so that the network keeps most of
#    what it has learned. An *epoch* is one pass through all training images. After each epoch we evaluate
#    the network on the validation images. *Early stopping* keeps the best epoch and, in longer training,
#    stops when several epochs bring no improvement.
#
# *Class weights* make an error on the smaller class count more. Otherwise the network could do well by
# choosing the larger class too often.
#
# `training.recipe` suggests settings for this number of images; we change three of them.
#
# The table has one row per epoch. The *loss* says how wrong the network is: smaller is better. `val_auc`
# says how well it separates the two classes in the validation images: 1 is perfect, 0.5 is guessing
# (more in section 6). Epoch 1, the head, has no training loss: it is computed directly, as a logistic
# regression.

# %%
model = models.build_model("efficientnet_lite0", classes=classes)
settings = replace(training.recipe(len(train)), strategy="head_then_all", epochs=3,
                   class_weights="balanced")
result = training.fit(model, train, val, settings=settings)
display(result.history[["train_loss", "val_loss", "val_auc"]].round(3).astype(object).fillna(""))
print(f"kept: the network as it was after epoch {result.best_epoch}")

# %%
ax = plots.plot_history(result.history)
plots.show(ax.figure, alt="Losses and validation AUC by epoch; the last AUC is "
           f"{result.history['val_auc'].iloc[-1]:.2f}.")

# %% [markdown]
# While both losses fall, the network learns. If the training loss falls and the validation loss rises,
# the network is memorising the training images (*overfitting*).
#
# We keep the epoch with the lowest *validation loss*, even if another has a higher AUC: with so few
# images, the AUC changes in jumps. If the second stage brings no improvement, we keep epoch 1.
#
# ### Exercise: train again
#
# How much of this is chance? Train a second, new network with **one** setting changed: the `seed`, which
# decides the order of the images and how each is augmented. `replace(settings, seed=1)` returns the
# settings with another seed. Then compare the table of the new training, `again.history`, with the table
# above.

# %% tags=["exercise"]
# solution: begin
# blank: again = ...  # build a new network and train it, as above, with another seed
other = models.build_model("efficientnet_lite0", classes=classes)
again = training.fit(other, train, val, settings=replace(settings, seed=1))
# solution: end
exercises.check("00-again", again, first=result)
# exercises.hint("00-again")  # remove the first # to see a hint

# %% [markdown]
# ## 6. Evaluate it as a clinician would
#
# The network gives each image a score between 0 and 1. To call an image positive (pneumonia), we need a
# **threshold**: from this score on, we say "pneumonia". If we chose it on the test images, the result would
# look too good, so we choose it on the validation images. We want to miss few cases, so our rule is: find
# at least nine of ten images with pneumonia. With fewer than ten such images, this means all of them, and
# the threshold may be far below 0.5.

# %%
val_scores = training.predict(result.model, val)
threshold = metrics.choose_threshold(val_scores, rule="sensitivity", floor=0.9)
test_scores = training.predict(result.model, test)
evaluation = metrics.evaluate(test_scores, threshold=threshold)
print(threshold)

# %% [markdown]
# Now, for the first time, we use the scores of the test images. The **ROC curve** has a point for every
# possible threshold:
#
# - how high it is: the share of people with pneumonia whom we find (*sensitivity*; higher is better);
# - how far right it is: the share of people without pneumonia whom we call positive (*1 - specificity*, the
#   false alarms; further left is better).
#
# The area under the curve is the **AUC**. Take one person with pneumonia and one without, at random: the
# AUC is the probability that the first has the higher score. The dot is our threshold. The lines through
# it are the 95 % intervals of both shares, explained below the figure.

# %% tags=["headline", "hide-input"]
auc = evaluation["auc"]
ax = plots.plot_roc(test_scores, threshold=threshold)
plots.show(ax.figure, alt=f"ROC curve of the test images; the area under it is {auc.value:.2f}.")
wide = auc.high - auc.low > 0.1
display(Markdown(
    f"On **{len(test)} test images** of {test_scores.n_patients} patients the AUC is "
    f"**{auc.value:.2f}**, with a 95 % interval from {auc.low:.2f} to {auc.high:.2f}. The interval "
    f"is {'wide, because the test set is small' if wide else 'narrow'}."))

# %% [markdown]
# The interval shows how much the result could change with a different group of similar patients. If we
# repeated the study many times, about 95 of 100 such intervals would contain the true value. The interval
# says nothing about another hospital. Never report a small study without it.
#
# With the threshold, each test image belongs to one of four boxes. A **true positive** has pneumonia and is
# called positive. A **false positive** (false alarm) has no pneumonia and is called positive. A **false
# negative** has pneumonia and is missed. A **true negative** has none and is called normal.

# %% tags=["nbval-check-output"]
ax = plots.plot_confusion(evaluation)
plots.show(ax.figure, alt="Confusion matrix: of either class, most images are called correctly.")

# %% [markdown]
# The percentage in each box is a share of its *row*. The four counts answer a clinician's questions:
#
# - **Sensitivity** (recall): of the people with pneumonia, what share did we find?
# - **Specificity**: of the people without pneumonia, what share did we correctly call normal?
# - **PPV** (precision): of those called positive, what share has pneumonia?
# - **NPV**: of those called negative, what share has no pneumonia?
#
# PPV and NPV are short for positive and negative *predictive value*. *Accuracy* is the share of all images
# that were called correctly.

# %%
names = ["sensitivity", "specificity", "ppv", "npv", "accuracy", "auc"]
evaluation.table.loc[names, ["value", "low", "high", "method"]].round(2)

# %% [markdown]
# (*Method* names the formula of the interval; you can skip it for now. We count images, so a patient with
# two images counts twice, and the intervals take this into account.)
#
# PPV and NPV are valid *only* where pneumonia is as common as in this test set. If one person in a hundred
# has it, most positive results are false alarms unless the specificity is extremely high. [Notebook
# 4](/notebooks/04_evaluate.ipynb) lets you vary this.
#
# ### Exercise: read a confusion matrix
#
# Another network was tested on 200 people, one image per person. It called 72 of the 80 people with
# pneumonia positive. It also called 30 of the 120 people without pneumonia positive. What is its
# **positive predictive value** (PPV), as a number between 0 and 1 with two decimals?

# %% tags=["exercise"]
true_positives, with_pneumonia = 72, 80
false_positives, without_pneumonia = 30, 120
# solution: begin
ppv = true_positives / (true_positives + false_positives)
# solution: end
exercises.check("00-ppv", ppv)
# exercises.hint("00-ppv")  # remove the first # to see a hint

# %% [markdown]
# ### Exercise: look at the false alarms
#
# Counts do not show *why* an answer was wrong. Draw the **four normal test images with the highest scores**
# with `plots.plot_grid`, with the score above each. `test.images`, `test.labels` (0 is normal) and
# `test_scores.y_score` have one entry per test image, in the same order. Two functions of NumPy help:
# `np.flatnonzero(x)` returns the places where `x` is true, and `np.argsort(x)` the places from the smallest
# to the largest number. A list of places in square brackets, `x[places]`, picks these entries. What do you
# see?

# %% tags=["exercise"]
# solution: begin
normal = np.flatnonzero(test.labels == 0)  # the places of the normal images
highest = normal[np.argsort(test_scores.y_score[normal])[-4:]]
figure = plots.plot_grid(test.images[highest], columns=4,
                         titles=[f"score {score:.2f}" for score in test_scores.y_score[highest]])
plots.show(figure, alt="The four normal test images with the highest scores, and their scores.")
# blank: figure = ...  # plots.plot_grid(images, columns=4, titles=[...])
# solution: end
exercises.check("00-alarms", figure, test=test, scores=test_scores.y_score)
# exercises.hint("00-alarms")  # remove the first # to see a hint

# %% [markdown]
# ## 7. Where did the network look?
#
# A good score can have a bad reason, such as a marker that only one hospital uses. **Grad-CAM**
# estimates which parts of an image raised the pneumonia score, and draws them as a coloured layer: from
# purple (a little) to bright yellow (most). We apply it to test images with pneumonia.

# %%
ill = np.flatnonzero(test.labels == 1)[:4]
maps = explain.explain(result.model, test.images[ill], method="gradcam", target=1)
rows = studies[studies["split"] == "test"].iloc[ill]
truths = datasets.decode_masks(rows) if "mask_path" in rows else [None] * len(ill)

# %%
fig, axes = plt.subplots(2, 4, figsize=(7, 3.7), layout="constrained")
for (top, bottom), row, heat, truth in zip(axes.T, ill, maps, truths, strict=True):
    plots.plot_image(test.images[row], title=f"score {test_scores.y_score[row]:.2f}", ax=top)
    plots.plot_map(test.images[row], heat, mask=truth, ax=bottom)
hot = [truth[np.unravel_index(heat.argmax(), heat.shape)]  # the hottest place: is it inside?
       for heat, truth in zip(maps, truths, strict=True) if truth is not None]
plots.show(fig, alt="Test images with pneumonia; below, the Grad-CAM map of each. In "
           f"{sum(hot)} of {len(hot)} the hottest place is inside the true lesion.", colours=256)
print(f"hottest place inside the outline: {sum(hot)} of {len(hot)} images")

# %% [markdown]
# The white line surrounds the places where the map reaches at least half of its maximum. The dashed line
# surrounds the true lesion, if known. If the white line lies inside the dashed one, the map agrees with the
# place of the disease. Look for a map that is hot elsewhere (an edge, a letter, a shoulder): ask why, even if
# the answer was correct.
#
# Our outlines are large, even for weak lesions, so a map can be inside by chance. They may cover
# the heart or the upper abdomen, because the lungs extend behind both. A heat map is a *hint*, not a
# proof. [Notebook 5](/notebooks/05_explain.ipynb) tests such maps and shows one that looks right for the
# wrong reason.
#
# ## 8. Predict your own image
#
# Set `path` to any DICOM, PNG, JPEG or TIFF file. The network knows only two answers, so a photograph of
# a cat also gets a score.

# %%
path = rows["path"].iloc[0]
own = datasets.decode_file(path, 224)  # uint8 (224, 224), just as `decode` made the others
logits = training.predict_logits(result.model, own[None])
score = training.probabilities(logits)[0]
verdict = classes[1] if score >= threshold.value else classes[0]
display(Markdown(f"Score **{score:.2f}**, threshold {threshold.value}: called **{verdict}**."))

# %% [markdown]
# ## 9. What this model must not be used for
#
# - **Not for any patient.** This is a lesson, not a medical device. Nobody has validated or approved it
#   ([notebook 6](/notebooks/06_ethics.ipynb) explains what would be necessary).
# - **Not as evidence about real pneumonia.** The sample is simulated. A score here does not show that
#   the method works in a hospital.
# - **Not in another population.** A network often performs worse at another hospital. Neither its score
#   nor its heat map will tell you.
#
# ## Key points
#
# - A DICOM file contains a header and pixels; display the pixels as the header says.
# - Split by patient. Make decisions on the validation images. Use the test images once.
# - Report intervals, and say for which population a PPV holds.
# - Check where the network looked, but do not take the map as proof.
#
# ## Further reading
#
# - Kermany et al., [*Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep
#   Learning*](https://doi.org/10.1016/j.cell.2018.02.010), Cell 2018
# - Selvaraju et al., [*Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
#   Localization*](https://doi.org/10.1109/ICCV.2017.74), ICCV 2017
# - Zech et al., [*Variable generalization performance of a deep learning model to detect pneumonia in
#   chest radiographs*](https://doi.org/10.1371/journal.pmed.1002683), PLOS Medicine 2018
#
# ## Next step
#
# [1. Load](/notebooks/01_load.ipynb) explains what the numbers in an image file mean.

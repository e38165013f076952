# %% [markdown]
# # 2. Augment: change an image only in ways that could really happen
#
# {{badges}}
#
# **You will be able to**
#
# - rotate, flip and zoom an image and change its brightness and contrast, by hand and in batches;
# - tell which changes are plausible for a chest radiograph, and which are not;
# - measure with an interval whether an augmentation helps, instead of assuming it;
# - explain why we change a whole batch at once, on the device, and what that gains.
#
# **You need first:** the [quickstart](/quickstart.ipynb); what a function and an array are.
#
# {{contract}}
#
# {{solutions}}

# %% [markdown]
# ## Why change a good image?
#
# A network trained on seventy radiographs has seen seventy positions, seventy levels of brightness and
# seventy bodies. If it sees the same images again and again, it memorises *these images*. If each
# image is changed a little every time, the network has to find what stays the same. This is
# **augmentation**.
#
# There is one condition, and many tutorials skip it. The changed image must be one that *could have
# been taken*, and its label must still be right. Everything in this notebook follows from this
# condition.

# %%
import math
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display

from medimg import datasets, exercises, metrics, models, plots, training
from medimg.augment import Augment, augment

rng = np.random.default_rng(0)

# %% [markdown]
# We load the images as in the quickstart; in the code they are called `films`. If you chose a large
# data set, we take a part of it, so that the notebook stays quick. The sample stays whole. A size of
# 128 pixels is enough here.

# %% tags=["nbval-check-output"]
studies = datasets.subsample(datasets.load(), {"train": 70, "val": 30, "test": 100}, rng=rng)
films = datasets.decode(studies, size=128)
print(f"{len(films)} images of {films.images.shape[1]} x {films.images.shape[2]} pixels, "
      f"{len(set(films.patients))} patients")

# %% [markdown]
# ## A rotation by hand
#
# How does a program rotate an image by 15 degrees? It works backwards. It goes through the pixels of
# the *new* image and asks for each one: "where in the old image did you come from?" To answer, it
# rotates the coordinates of the new pixel *back*. So a rotation is a small matrix that rotates
# coordinates.

# %% tags=["nbval-check-output"]
angle = math.radians(15)
back = torch.tensor([[math.cos(angle), -math.sin(angle), 0.0],
                     [math.sin(angle), math.cos(angle), 0.0]])  # (2, 3): turn, and shift by 0
print(back.numpy().round(3))

# %% [markdown]
# Each row of the matrix gives one old coordinate: the first row *x*, the second row *y*. The third
# column would shift the image. From the matrix, PyTorch makes a grid of old coordinates and reads the
# grey levels there. Between pixels it interpolates. Outside the image there is nothing to read, so it
# fills in black.

# %% tags=["nbval-check-output"]
film = torch.from_numpy(films.images[:1, None] / 255).float()  # (1, 1, 128, 128)
grid = torch.nn.functional.affine_grid(back[None], list(film.shape), align_corners=False)
by_hand = torch.nn.functional.grid_sample(film, grid, align_corners=False)
fig = plots.plot_grid([film[0, 0].numpy(), by_hand[0, 0].numpy()], columns=2,
                      titles=["the image", "rotated by hand"])
plots.show(fig, alt="An image, and the same image turned by 15 degrees, with black corners.",
           colours=128)

# %% [markdown]
# Look at the corners: they are black because the old image has no pixels there. A network can learn
# from such corners. If we rotated only the images *with pneumonia*, black corners would mean
# pneumonia, and we would have built a shortcut. So augmentation must never depend on the label.
#
# `medimg.augment` does the same for a batch, with its own random angle for each image. It works in two
# steps, and we take them one by one. `draw_parameters` draws the random numbers (here an angle of up
# to 15 degrees), and `apply` changes the images. The drawn parameters contain the matrix, so we can
# repeat the rotation by hand and compare. `assert_close` stops with an error if the two results
# differ.

# %% tags=["nbval-check-output"]
from medimg.augment import apply, draw_parameters

only_rotation = replace(Augment.none(), rotate=15)
drawn = draw_parameters(1, only_rotation, generator=torch.Generator().manual_seed(5))
grid = torch.nn.functional.affine_grid(drawn.matrix, list(film.shape), align_corners=False)
same = torch.nn.functional.grid_sample(film, grid, align_corners=False)
torch.testing.assert_close(apply(film, drawn), same)
turned = math.degrees(math.asin(-float(drawn.matrix[0, 0, 1])))
print(f"drew a rotation of {turned:+.1f} degrees")

# %% [markdown]
# Notice two habits. First, *drawing* the numbers is separate from *applying* them. So you can look at
# the numbers later, see what was done to an image, and repeat it. Second, the random numbers come from
# a generator with a fixed seed, so every run draws the same ones.
#
# ## What could have happened?
#
# Here is one image with six different changes. For each one, ask: *could this radiograph have been
# taken of this patient?*

# %% tags=["nbval-check-output", "hide-input"]
changes = {"up to 10° of rotation": {"rotate": 10}, "zoom": {"zoom": (1.15, 1.25)},
           "brightness": {"brightness": 0.2}, "contrast": {"contrast": 0.5}, "flip": {"flip": 1.0}}
views = [augment(film, replace(Augment.none(), **c), generator=torch.Generator().manual_seed(8))
         for c in changes.values()]
views.append(torch.rot90(film, 1, (2, 3)))  # a quarter turn
fig = plots.plot_grid(torch.cat(views)[:, 0].numpy(), columns=3,
                      titles=[*changes, "90° of rotation"])
plots.show(fig, alt="One image turned a little, magnified, re-exposed, its contrast changed, "
           "mirrored, and lying on its side.", colours=128)

# %% [markdown]
# | change | could it have happened? | why |
# |---|---|---|
# | a few degrees of rotation | yes | patients lean, or lie at an angle in bed |
# | a little zoom or shift | yes | distance from the tube, body size, collimation |
# | brightness, contrast | yes | each manufacturer's processing; the display window |
# | blur, noise | yes | movement blurs; a low dose gives noise |
# | left-right flip | **hardly** | the heart points left; mirrored, it looks like *situs inversus*, which about one person in ten thousand has, and the L/R marker is mirrored too |
# | upside down, 90° | no, or a mistake in storage | someone would turn such an image before reading it |
# | stretched in one direction only | no | the pixels of the detector are square (but see below) |
#
# **Brightness is not exposure.** On screen-film, a low exposure makes the film too light. A digital
# system adjusts the brightness itself, so a low exposure shows mainly as noise, and a higher one often
# looks normal. Therefore our brightness and contrast changes imitate processing, and our noise
# imitates a low dose.
#
# **We do stretch images** that are not square, when we resize them for the network (see
# [notebook 1](/notebooks/01_load.ipynb)). This does not depend on the label, but it does change shapes.
#
# **Other images have other rules.** A photograph of a skin lesion has no up or down, so you can flip
# it. A brain slice is nearly symmetric, but if the label says on which side the stroke is, a flip
# makes it wrong.

# %% [markdown]
# ### Exercise: which are plausible?
#
# You train on **hand radiographs**, left and right hands mixed, to find fractures. Which of these
# changes are plausible? (a) left-right flip, (b) rotation by up to 10 degrees, (c) inverting black and
# white at random, although the program that reads the files already corrects MONOCHROME1, (d) a little
# more contrast. Give all letters, as in `["a", "c"]`.

# %% tags=["exercise"]
# solution: begin
# blank: plausible = ...
plausible = ["a", "b", "d"]
# solution: end
exercises.check("02-plausible", plausible)
# exercises.hint("02-plausible")  # remove the first # to see a hint

# %% [markdown]
# ## What the network sees
#
# In training, all changes act together, and new numbers are drawn for each image in each epoch. Before
# you train with a setting, look at a batch of changed images. If *you* can no longer see what the
# label says, the network learns from a wrong label.

# %% tags=["nbval-check-output", "hide-input"]
four = torch.from_numpy(films.images[:4, None] / 255).float()  # (4, 1, 128, 128)
usual, strong = Augment(), Augment.strong()
rows = [four]
for number, settings in enumerate((usual, strong)):
    rows.append(augment(four, settings, generator=torch.Generator().manual_seed(number)))
titles = ["as it is"] * 4 + ["usual"] * 4 + ["strong"] * 4
fig = plots.plot_grid(torch.cat(rows)[:, 0].numpy(), titles=titles, columns=4)
plots.show(fig, alt="Four images as they are, after the usual augmentation, and after the strong "
           "one, which also blurs, adds noise and blanks borders.", colours=128)

# %% [markdown]
# The usual setting is gentle. The strong setting imitates another hospital: other processing, other
# framing, and noise. It sometimes blanks a strip at a border, so that the network cannot rely on a
# marker or on the edge of the collimation. Neither setting flips.
#
# Check the bottom row against our condition. If an image has become almost white, or its lesion was
# pushed over the edge, nobody could read it any more. A strong setting usually makes a few such
# images. If there are many, make it weaker.
#
# ## One by one, or a whole batch at once?
#
# Many programs change images one by one, in Python. Changing the whole batch in a few large operations
# does the same work with less overhead. On a GPU, the work is also done on the device where the batch
# already is. We time both ways on 64 images. Only the ratio matters, and it differs between computers.
#
# <details><summary>Going further: the same changes in torchvision</summary>
#
# Many programs use `torchvision.transforms.v2`. It has these changes too: `RandomAffine` (rotation,
# zoom, shift and shear), `RandomHorizontalFlip`, `ColorJitter` (brightness and contrast),
# `GaussianBlur`, `GaussianNoise` and `RandomErasing` (blank areas). `Compose` joins them into one
# step. Usually they change each image alone, when it is loaded. If you give them a whole batch, most
# of them draw *one* set of numbers for it, so that every image gets the same rotation. Check an
# example before you copy it: many include a flip, which is harmless for everyday photographs.
#
# </details>

# %%
batch = torch.from_numpy(np.resize(films.images, (64, 128, 128))[:, None] / 255).float()
generator = torch.Generator().manual_seed(0)


def seconds(task, repeats=3):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return min(times)


# %%
together = seconds(lambda: augment(batch, usual, generator=generator))
one_by_one = seconds(lambda: [augment(one[None], usual, generator=generator) for one in batch])
display(Markdown(f"On this machine the batch takes **{one_by_one / together:.1f} times** less time "
                 "than the same images one by one."))

# %% [markdown]
# ## Does it help? Measure it
#
# "Augmentation helps" is an assumption until you measure it, and a small test set cannot measure it
# well. So we use a design that gets the most out of few patients: **cross-validation by patient**. We
# divide the patients into five parts, with all images of a patient in the same part. A model trained
# on four parts scores the images of the fifth. In this way every image gets an out-of-fold score, from
# a model that never saw its patient.
#
# To save time, the pretrained network stays frozen: its weights do not change. It turns each image
# into 1,280 features, and we train only a linear model on them. For training, each image gives three
# changed copies. For evaluation, the images stay *unchanged*.

# %%
model = models.build_model("efficientnet_lite0")


def copies(settings, count=3, seed=1):
    """Return the features of `count` changed copies of each image: (count, N, 1280)."""
    pixels = torch.from_numpy(films.images[:, None] / 255).float()
    generator = torch.Generator().manual_seed(seed)
    changed = [augment(pixels, settings, generator=generator)[:, 0] for _ in range(count)]
    as_bytes = (torch.cat(changed) * 255).byte().numpy()
    return training.extract_features(model, as_bytes).reshape(count, len(films), -1)


# %% [markdown]
# We compare four recipes: no augmentation; the usual one; the usual one *with flips*; and a wild one
# that no hospital could produce (any rotation, and a flip with probability one half).

# %%
recipes = {
    "none": Augment.none(),
    "usual": usual,
    "usual + flip": replace(usual, flip=0.5),
    "wild": replace(usual, rotate=180, flip=0.5),
}
plain = training.extract_features(model, films.images)  # (N, 1280), the films as they are
features = {name: copies(settings) for name, settings in recipes.items() if name != "none"}
features["none"] = np.repeat(plain[None], 3, axis=0)  # as many rows as the others

# %% [markdown]
# Here is the cross-validation itself. `part` says in which of the five parts each image is, by its
# *patient*. For each part, we train a logistic regression on the images of the other patients, and on
# the changed copies of these images. Then it scores the images of this part.

# %%
patients = np.unique(films.patients)
part_of = dict(zip(rng.permutation(patients), np.arange(len(patients)) % 5, strict=True))
part = np.array([part_of[patient] for patient in films.patients])


def cross_validated(copied, judged=plain):
    scores = np.zeros(len(films))
    for number in range(5):
        learn, judge = part != number, part == number
        seen = np.concatenate([plain[learn], *copied[:, learn]])
        labels = np.tile(films.labels[learn], 1 + len(copied))
        probe = training.linear_probe(seen, labels)
        scores[judge] = training.probabilities(probe.logits(judged[judge]))
    return metrics.Predictions(films.ids, films.labels, scores, films.patients, films.classes)


# %%
results = {name: cross_validated(features[name]) for name in recipes}
aucs = {name: metrics.auc(result) for name, result in results.items()}
fig, ax = plt.subplots(figsize=(6, 2.4), layout="constrained")
for row, (name, value) in enumerate(aucs.items()):
    ax.plot([value.low, value.high], [row, row], color="#0072b2")
    ax.plot(value.value, row, "o", color="#0072b2")
ax.set(yticks=range(len(aucs)), yticklabels=list(aucs), xlabel="AUC, cross-validated by patient",
       ylim=(len(aucs) - 0.5, -0.5))
text = ", ".join(f"{name} {value:.2f}" for name, value in aucs.items())
plots.show(fig, alt=f"The AUC of each recipe with its 95 % interval: {text}.")

# %% [markdown]
# Each line is a 95 % interval. If two intervals overlap, can the recipes still differ? Yes. All
# recipes were evaluated on the *same* images, so much of the uncertainty is common to all of them. The
# right question is about the **difference**. DeLong's method gives an interval for the difference of
# two AUCs that were measured on the same patients.

# %% tags=["headline", "hide-input"]
lines = []
for name in ("usual", "usual + flip", "wild"):
    gain = metrics.auc_difference(results[name], results["none"])
    verdict = "undecided" if gain.low <= 0 <= gain.high else "better" if gain.low > 0 else "worse"
    span = f"{gain.low:+.3f} to {gain.high:+.3f}"
    lines.append(f"| {name} | {gain.value:+.3f} | {span} | {verdict} |")
display(Markdown("| against none | gain in AUC | 95 % interval | |\n|---|---|---|---|\n"
                 + "\n".join(lines)))

# %% [markdown]
# Read the last column with care:
#
# - *Undecided* does not mean "no effect". With so few patients, a small effect cannot be seen.
# - *Better* does not mean "for the reason that I expected". If even the wild recipe gains,
#   plausibility is not the reason. A linear model with 1,280 features and so few images may profit
#   from *any* copies, because they hide what is special about a single image. Copies also mean more
#   rows, and at the same C more rows weaken the regularisation a little.
# - We made three comparisons. Even if no recipe had any effect, at least one of the three would come
#   out "better" or "worse" by chance in up to one of seven such experiments.
# - The intervals do not include the chance in the choice of *training* images. So do not trust a gain
#   whose interval is only just above zero.
#
# ### Exercise: your own recipe
#
# Make a recipe of your own with `replace(Augment.none(), ...)`: at least one change that could really
# happen to a chest radiograph, and none that could not. Compute the features of its copies,
# cross-validate, and submit the result. Before you run it, say what you expect.

# %% tags=["exercise"]
# solution: begin
mine = replace(Augment.none(), contrast=0.3, noise=0.02, shift=0.05)
tried = cross_validated(copies(mine))
# blank: mine = ...  # replace(Augment.none(), ...)
# blank: tried = ...  # cross-validate with the copies that it makes
# solution: end
exercises.check("02-recipe", tried, recipe=mine, results=results)
# exercises.hint("02-recipe")  # remove the first # to see a hint

# %% [markdown]
# Next we ask what happens on images that differ from these.
#
# ## Where augmentation is most useful: another hospital
#
# On images from your own hospital ("at home"), there may be little to gain. Images from another
# hospital ("elsewhere") are positioned, framed and processed differently: a *domain shift*. We imitate
# this. We change the images that are *evaluated* (once, with a fixed seed) more strongly than the
# usual augmentation does, and evaluate again.

# %%
elsewhere = Augment(rotate=15, zoom=(0.8, 1.25), shift=0.08, brightness=0.2, contrast=0.4,
                    gamma=0.3)
moved = copies(elsewhere, count=1, seed=99)[0]  # (N, 1280)
away = {name: cross_validated(features[name], judged=moved) for name in recipes}
table = {name: [f"{metrics.auc(one[name]):.2f}" for one in (results, away)] for name in recipes}
pd.DataFrame.from_dict(table, orient="index", columns=["AUC at home", "AUC elsewhere"])

# %% tags=["headline", "hide-input"]
gain = metrics.auc_difference(away["usual"], away["none"])
loss = metrics.auc(results["none"]).value - metrics.auc(away["none"]).value
said = "helps there" if gain.low > 0 else "harms there" if gain.high < 0 else "is undecided there"
display(Markdown(
    f"Without augmentation the AUC changes by {-loss:+.2f} when the images come from elsewhere. "
    f"The usual augmentation {said}: its gain is {gain.value:+.3f} ({gain.low:+.3f} to "
    f"{gain.high:+.3f})."))

# %% [markdown]
# This test is too easy for the augmentation: we made the other hospital with much the same changes as
# the training copies. A real hospital differs in ways that nobody has imitated. So treat a gain here
# as a best case.
#
# If a recipe does *better* elsewhere than at home, do not look for a reason. Where the intervals
# overlap widely, chance is enough to explain it.
#
# Look at the last two rows too. If recipes that no hospital could produce do as well as the usual one,
# the table shows that *some* variety helps, not that plausible variety helps more. This test could not
# punish a flip, because hardly any data set has images with the heart on the other side. We leave the
# flip out because of what we know about patients, not because of this AUC.
#
# > **Common mistakes.** Augmentation is for training. A test set with augmentation measures something
# > else: here we used one on purpose, to ask about another hospital, and we said so. Also, all copies
# > of an image must stay on the same side of the split. A copy of a training image in the test set is
# > data leakage.
#
# ### Exercise: break the rule
#
# A change must never depend on the label. See why: rotate **only the images with pneumonia** by 15
# degrees (`scipy.ndimage.rotate(image, 15, reshape=False)` leaves black corners), extract the features
# of all images, and cross-validate with them alone: `cross_validated(x[None], judged=x)`. Submit the
# images and the result, as a list of two.

# %% tags=["exercise"]
from scipy.ndimage import rotate

# solution: begin
tilted = films.images.copy()
for row in np.flatnonzero(films.labels == 1):
    tilted[row] = rotate(films.images[row], 15, reshape=False)
x = training.extract_features(model, tilted)
too_good = cross_validated(x[None], judged=x)
# blank: tilted = ...  # a copy of films.images, of which some are rotated
# blank: too_good = ...  # the result on these images
# solution: end
exercises.check("02-corners", [tilted, too_good], films=films, honest=results["none"])
# exercises.hint("02-corners")  # remove the first # to see a hint

# %% [markdown]
# ## Key points
#
# - Change an image only in ways that could really happen, and never in a way that depends on its
#   label.
# - Look at a batch of changed images before you train on it.
# - A flip puts the heart on the wrong side. It may even raise a score, but hardly any patient looks
#   like that. Use it where left and right do not matter.
# - Measure the *difference*, with an interval, and keep all images of a patient together. Expect the
#   gain mainly on images from elsewhere.
# - Draw new numbers for each image, and apply them to the whole batch at once, on the device.
#
# ## Further reading
#
# - Shorten and Khoshgoftaar, *A survey on Image Data Augmentation for Deep Learning*, Journal of Big
#   Data 2019, [doi:10.1186/s40537-019-0197-0](https://doi.org/10.1186/s40537-019-0197-0)
# - DeLong, DeLong and Clarke-Pearson, *Comparing the Areas under Two or More Correlated Receiver
#   Operating Characteristic Curves*, Biometrics 1988, [doi:10.2307/2531595](https://doi.org/10.2307/2531595)
# - Pérez-García, Sparks and Ourselin, *TorchIO*, Computer Methods and Programs in Biomedicine 2021,
#   [doi:10.1016/j.cmpb.2021.106236](https://doi.org/10.1016/j.cmpb.2021.106236)
# - PyTorch, [Transforming and augmenting images](https://docs.pytorch.org/vision/stable/transforms.html):
#   the documentation of torchvision's transforms
#
# ## Next step
#
# In [3. Fine-tune](/notebooks/03_finetune.ipynb) we train the network itself, with the training loop
# written out in full.

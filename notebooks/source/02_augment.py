# %% [markdown]
# # 2. Augment: change an image only as the world could have
#
# {{badges}}
#
# **You will be able to**
#
# - rotate, flip, zoom and re-expose an image, by hand and in batches;
# - tell which changes are plausible for a chest film and which make a patient that cannot be;
# - measure whether an augmentation helps, with an interval, instead of believing it;
# - say why a batch is changed at once, on the device, and what that is worth.
#
# **You need first:** the [quickstart](/quickstart.ipynb); what a function and an array are.
#
# {{contract}}
#
# {{solutions}}

# %% [markdown]
# ## Why change a good image?
#
# A network that has seen seventy films has seen seventy positions, seventy exposures and seventy
# bodies. Show it the same films again and again, and it learns *these films*. Show it each film a
# little changed each time, and it has to find what stays: that is **augmentation**.
#
# The idea has one condition, and most tutorials skip it: the changed image must be one that *could
# have been taken*, and must still deserve its label. Everything in this notebook follows from that.

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
# We load the films as in the quickstart. On a large data set we draw a part of it, so that the
# notebook stays quick; the sample stays whole. 128 pixels are enough here.

# %% tags=["nbval-check-output"]
studies = datasets.subsample(datasets.load(), {"train": 70, "val": 30, "test": 100}, rng=rng)
films = datasets.decode(studies, size=128)
print(f"{len(films)} films of {films.images.shape[1]} x {films.images.shape[2]} pixels, "
      f"{len(set(films.patients))} patients")

# %% [markdown]
# ## A rotation by hand
#
# What does "rotate by 15 degrees" do? Not what one expects: the program walks over the pixels of the
# *new* image and asks for each, "where in the old image did you come from?" To answer, it rotates
# the new pixel's coordinates *back*. So a rotation is a small matrix that turns coordinates.

# %% tags=["nbval-check-output"]
angle = math.radians(15)
back = torch.tensor([[math.cos(angle), -math.sin(angle), 0.0],
                     [math.sin(angle), math.cos(angle), 0.0]])  # (2, 3): turn, and shift by 0
print(back.numpy().round(3))

# %% [markdown]
# Each row makes one coordinate: the first *x*, the second *y*; the third column would shift. PyTorch
# makes a grid of old coordinates from the matrix and picks the grey levels there. Between pixels it
# interpolates; outside the image it finds nothing and puts black.

# %% tags=["nbval-check-output"]
film = torch.from_numpy(films.images[:1, None] / 255).float()  # (1, 1, 128, 128)
grid = torch.nn.functional.affine_grid(back[None], list(film.shape), align_corners=False)
by_hand = torch.nn.functional.grid_sample(film, grid, align_corners=False)
fig = plots.plot_grid([film[0, 0].numpy(), by_hand[0, 0].numpy()], columns=2,
                      titles=["the film", "rotated by hand"])
plots.show(fig, alt="A film, and the same film turned by 15 degrees, with black corners.",
           colours=128)

# %% [markdown]
# Look at the corners: they are black because there is nothing to see there. A network can learn
# such a thing. If only the *ill* were rotated, black corners would mean pneumonia! Augmentation must
# never depend on the label.
#
# `medimg.augment` does the same for a batch, with a random angle for each film. It works in two
# steps, and we can take them one by one: `draw_parameters` draws the changes (here an angle of up to
# 15 degrees), `apply` carries them out. What was drawn holds its matrix, so we can repeat it by hand
# and compare; `assert_close` stops with an error if the two differ.

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
# Note two habits. *Drawing* the numbers is separate from *applying* them: anyone who wants to know
# what was done to an image can look at the numbers and repeat it. And the randomness comes from a
# generator with a seed, never from the clock.
#
# ## What could have happened?
#
# Here is one film under six changes. Look at each and ask the question of this notebook: *could this
# film have been taken of this patient?*

# %% tags=["nbval-check-output"]
changes = {"up to 10° of rotation": {"rotate": 10}, "zoom": {"zoom": (1.15, 1.25)},
           "brightness": {"brightness": 0.2}, "contrast": {"contrast": 0.5}, "flip": {"flip": 1.0}}
views = [augment(film, replace(Augment.none(), **c), generator=torch.Generator().manual_seed(8))
         for c in changes.values()]
views.append(torch.rot90(film, 1, (2, 3)))  # a quarter turn
fig = plots.plot_grid(torch.cat(views)[:, 0].numpy(), columns=3,
                      titles=[*changes, "90° of rotation"])
plots.show(fig, alt="One film turned a little, magnified, re-exposed, its contrast changed, "
           "mirrored, and lying on its side.", colours=128)

# %% [markdown]
# | change | could it have happened? | why |
# |---|---|---|
# | a few degrees of rotation | yes | patients lean; in bed they lie askew |
# | a little zoom or shift | yes | tube distance, body size, collimation |
# | brightness, contrast | yes | exposure, and each maker's processing |
# | blur, noise | yes | movement; low dose |
# | left-right flip | **hardly** | the heart points left; mirrored, it looks like *situs inversus*, about one person in ten thousand, and the L/R marker reads backwards |
# | upside down, 90° | no, or a filing error | such a film would be turned before anyone reads it |
# | stretched in one direction only | no | the detector's pixels are square (but see below) |
#
# We do stretch, in fact, when we make an oblong film square for the network
# ([notebook 1](/notebooks/01_load.ipynb)). That is the same for every film and depends on no label,
# but it costs something all the same.
#
# The same table reads differently for other images. A skin lesion has no up or down: flip it as you
# like. A brain slice is nearly symmetric, but a stroke on the left is not one on the right.

# %% [markdown]
# ### Exercise: which are plausible?
#
# You train on **hand radiographs**, left and right hands mixed, and want to find fractures. Which of
# these changes are plausible? (a) left-right flip, (b) rotation by up to 10 degrees, (c) inverting
# black and white at random, while the reader that loads them already corrects MONOCHROME1,
# (d) a little more contrast. Give all letters, as in `["a", "c"]`.

# %% tags=["exercise"]
# solution: begin
# blank: plausible = ...
plausible = ["a", "b", "d"]
# solution: end
exercises.check("02-plausible", plausible)
# exercises.hint("02-plausible")  # take away the first # for a hint

# %% [markdown]
# ## What the network sees
#
# In training, all changes act at once, each drawn anew for each film at each pass. Before you train
# with a setting, look at a batch of it. If *you* could no longer call a film, the network learns a
# wrong label from it.

# %% tags=["nbval-check-output"]
four = torch.from_numpy(films.images[:4, None] / 255).float()  # (4, 1, 128, 128)
usual, strong = Augment(), Augment.strong()
rows = [four]
for number, settings in enumerate((usual, strong)):
    rows.append(augment(four, settings, generator=torch.Generator().manual_seed(number)))
titles = ["as it is"] * 4 + ["usual"] * 4 + ["strong"] * 4
fig = plots.plot_grid(torch.cat(rows)[:, 0].numpy(), titles=titles, columns=4)
plots.show(fig, alt="Four films as they are, after the usual augmentation, and after the strong "
           "one, which also blurs, adds noise and blanks borders.", colours=128)

# %% [markdown]
# The usual setting is gentle. The strong one imitates another hospital: other processing, other
# framing, noise, and now and then a border blanked, so that a marker or a collimator edge cannot
# become the answer. Neither one mirrors. Hold the lower row to the rule above: where a film has burnt
# out to white, or its lesion has been pushed over the edge, nobody could call it any more. Some such
# films are the price of a strong setting; if they are many, make it milder.
#
# ### Exercise: how bright?
#
# Contrast and brightness are applied as `(pixel - 0.5) * slope + 0.5 + offset`, and the result is
# clipped to 0..1. A pixel has the value 0.8; the slope drawn is 1.5 and the offset is -0.1. What is
# the pixel's new value?

# %% tags=["exercise"]
# solution: begin
new_value = min(max((0.8 - 0.5) * 1.5 + 0.5 - 0.1, 0), 1)
# solution: end
exercises.check("02-pixel", new_value)
# exercises.hint("02-pixel")  # take away the first # for a hint

# %% [markdown]
# ## One by one, or a batch at once?
#
# Most tutorials change images one by one, in Python, while the network waits. Changing the whole
# batch in a few large operations does the same work with less overhead, and on a GPU it happens
# where the batch already is. We time both on 64 films; the ratio is what matters, and it differs
# from machine to machine.

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
                 "than the same films one by one."))

# %% [markdown]
# ## Does it help? Measure
#
# "Augmentation helps" is a belief until it is measured, and a single test set of a few films cannot
# measure it. So we use a design that gets the most out of few patients: **cross-validation by
# patient**. The films are dealt into five parts, no patient in two of them. Each part is judged by a
# model trained on the other four, so every film gets a score from a model that never saw its patient.
#
# To be quick we keep the network frozen: it turns each film into 1,280 numbers, and only a linear
# model on top is trained. Each film gives three changed copies of itself for training. It is always
# judged *unchanged*.

# %%
model = models.build_model("efficientnet_lite0")


def copies(settings, count=3, seed=1):
    """Return the features of `count` changed copies of each film: (count, N, 1280)."""
    pixels = torch.from_numpy(films.images[:, None] / 255).float()
    generator = torch.Generator().manual_seed(seed)
    changed = [augment(pixels, settings, generator=generator)[:, 0] for _ in range(count)]
    as_bytes = (torch.cat(changed) * 255).byte().numpy()
    return training.extract_features(model, as_bytes).reshape(count, len(films), -1)


# %% [markdown]
# Four recipes: no augmentation, the usual one, the usual one *with flips*, and a wild one that no
# hospital could produce (any rotation, mirrored half of the time).

# %%
recipes = {
    "none": Augment.none(),
    "usual": usual,
    "usual + flip": replace(usual, flip=0.5),
    "wild": replace(usual, rotate=180, flip=0.5),
}
plain = training.extract_features(model, films.images)  # (N, 1280), the films as they are
features = {name: copies(settings) for name, settings in recipes.items() if name != "none"}
features["none"] = plain[None]

# %% [markdown]
# Now the cross-validation itself, written out. `part` says which of the five parts each *patient* is
# in. For each part, a logistic regression is trained on the copies of the other patients' films (and
# on these films themselves), and scores the part's films.

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
# Each line is a 95 % interval. Where such intervals overlap, do we know nothing? Not quite: the *same*
# films were judged each time, so most of the uncertainty is common to all recipes. The right question is
# about the **difference**, and DeLong's method answers it for two scores on the same patients.

# %% tags=["headline"]
lines = []
for name in ("usual", "usual + flip", "wild"):
    gain = metrics.auc_difference(results[name], results["none"]).difference
    verdict = "undecided" if gain.low <= 0 <= gain.high else "better" if gain.low > 0 else "worse"
    span = f"{gain.low:+.3f} to {gain.high:+.3f}"
    lines.append(f"| {name} | {gain.value:+.3f} | {span} | {verdict} |")
display(Markdown("| against none | gain in AUC | 95 % interval | |\n|---|---|---|---|\n"
                 + "\n".join(lines)))

# %% [markdown]
# Read the last column, and read it twice. (Three comparisons are made here. Where nothing is going
# on, one of the three comes out "decided" by chance up to once in seven times. And the intervals
# leave out the chance of the training films, so a gain that barely clears zero is no finding.)
# *Undecided* is not "no effect": with so few patients, a small effect cannot be seen. *Better* is
# not "for the reason that I had in mind": where even the wild recipe gains, the gain cannot come
# from plausible films. A linear model on 1,280 numbers and a few dozen films may profit from *any*
# copies that blur what is particular to one film. Next we ask about other films than these.
#
# ## Where augmentation earns its keep: another hospital
#
# At home there may be little to gain. Elsewhere there is more: films from elsewhere are turned
# differently, framed differently, processed differently (a *domain shift*). We imitate that by
# changing the *judged* films (once, with a fixed seed) in ways that the training films were not,
# and judge again.

# %%
elsewhere = Augment(rotate=15, zoom=(0.8, 1.25), shift=0.08, brightness=0.2, contrast=0.4,
                    gamma=0.3)
moved = copies(elsewhere, count=1, seed=99)[0]  # (N, 1280)
away = {name: cross_validated(features[name], judged=moved) for name in recipes}
table = {name: [f"{metrics.auc(one[name]):.2f}" for one in (results, away)] for name in recipes}
pd.DataFrame.from_dict(table, orient="index", columns=["AUC at home", "AUC elsewhere"])

# %% tags=["headline"]
gain = metrics.auc_difference(away["usual"], away["none"]).difference
loss = metrics.auc(results["none"]).value - metrics.auc(away["none"]).value
said = "helps there" if gain.low > 0 else "harms there" if gain.high < 0 else "is undecided there"
display(Markdown(
    f"Without augmentation the AUC changes by {-loss:+.2f} when the films come from elsewhere. The "
    f"usual augmentation {said}: its gain is {gain.value:+.3f} ({gain.low:+.3f} to "
    f"{gain.high:+.3f})."))

# %% [markdown]
# Be fair: we made this other hospital out of much the same changes as the augmentation. A real one
# differs in ways that nobody drew. So take a gain here as an upper hope.
#
# Where a recipe does *better* elsewhere than at home, do not look for a reason: the intervals overlap
# widely, and so few films allow such a difference by chance.
#
# Look at the last two rows as well. Where recipes that no hospital could produce do as well as the usual
# one, the table shows that *some* variety helps, not that plausible variety helps more. It could not
# punish a flip: no film here has its heart on the other side. The reason to leave the flip out is what
# we know of patients, not this AUC.
#
# > **Where learners fall.** Augmentation is for training. An augmented *test* set measures something
# > else: here we did it on purpose, to ask a question about another hospital, and said so. And copies
# > of one film must stay on one side of the split: a copy of a training film in the test set is a leak.
#
# ### Exercise: is the gain real?
#
# Somebody reports: "Augmentation raised our AUC by 0.04 (95 % interval of the difference -0.01 to
# 0.09)." What may be said? Give one letter in quotes, as in `"a"`. (a) It helps. (b) It does
# nothing. (c) The data cannot decide; a gain of 0.09 and a small harm are both possible. (d) The
# interval is wrong, since it holds a negative number.

# %% tags=["exercise"]
# solution: begin
answer = "c"
# solution: end
exercises.check("02-real", answer)
# exercises.hint("02-real")  # take away the first # for a hint

# %% [markdown]
# ## Key points
#
# - Change an image only as the world could have, and never in a way that depends on its label.
# - Look at a batch before you train on it.
# - A flip puts the heart on the wrong side. It may even raise a score, and it is still a patient that
#   hardly exists; use it where left and right mean nothing.
# - Measure with intervals, on the *difference*, with patients kept apart. Expect the gain on films
#   from elsewhere.
# - Draw once, apply to the whole batch, on the device.
#
# ## Further reading
#
# - Shorten and Khoshgoftaar, *A survey on Image Data Augmentation for Deep Learning*, Journal of Big
#   Data 2019, [doi:10.1186/s40537-019-0197-0](https://doi.org/10.1186/s40537-019-0197-0)
# - DeLong, DeLong and Clarke-Pearson, *Comparing the Areas under Two or More Correlated Receiver
#   Operating Characteristic Curves*, Biometrics 1988, [doi:10.2307/2531595](https://doi.org/10.2307/2531595)
# - Pérez-García, Sparks and Ourselin, *TorchIO*, Computer Methods and Programs in Biomedicine 2021,
#   [doi:10.1016/j.cmpb.2021.106236](https://doi.org/10.1016/j.cmpb.2021.106236)
#
# ## Next step
#
# [3. Fine-tune](/notebooks/03_finetune.ipynb) lets the whole network move, one loop written in full.

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
# We load the images as in the quickstart; in the code they are called `films`. From a large data set we
# take only a part, to save time. The sample is used whole. A size of 128 pixels is enough here.

# %% tags=["nbval-check-output"]
studies = datasets.load(classes=2)
studies = datasets.subsample(studies, {"train": 70, "val": 30, "test": 100}, rng=rng)
films = datasets.decode(studies, size=128)
print(f"{len(films)} images of {films.images.shape[1]} x {films.images.shape[2]} pixels, "
      f"{len(set(films.patients))} patients")

# %% [markdown]
# ## A rotation by hand
#
# How does a program rotate an image by 15 degrees? It works backwards. It goes through the pixels of
# the *new* image and asks for each one: "where in the old image did you come from?" To answer, it
# rotates the coordinates of the new pixel *back*. So a rotation is a small table of numbers, a *matrix*,
# that rotates coordinates. Its numbers are the sine and the cosine of the angle. (If you have forgotten
# these, simply continue: you will not need them again.)

# %% tags=["nbval-check-output"]
angle = math.radians(15)
back = torch.tensor([[math.cos(angle), -math.sin(angle), 0.0],
                     [math.sin(angle), math.cos(angle), 0.0]])  # 2 rows, 3 columns
print(back.numpy().round(3))

# %% [markdown]
# Each row of the matrix gives one old coordinate: the first row *x*, the second row *y*. The third
# column would shift the image; here it is 0. From the matrix, PyTorch makes a grid of old coordinates and
# reads the grey levels there. Between pixels it interpolates. Outside the image there is nothing to read,
# so these pixels become black. (PyTorch wants images as a block of four dimensions: images, channels, rows,
# columns. One grey image has the shape `(1, 1, 128, 128)`.)

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
# `medimg.augment` does the same for a *batch* (a group of images), with a different random angle for each
# image. It works in two steps. First, `draw_parameters` draws random numbers, as in a lottery: here an
# angle of up to 15 degrees. Then `apply` changes the images. The drawn parameters contain the matrix, so we
# can repeat the rotation by hand and compare. `assert_close` stops with an error if the two results
# differ. (`Augment.none()` is a recipe that changes nothing, and `replace` returns a copy of it with a
# rotation.)

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
# Notice two things. First, *drawing* the numbers is separate from *applying* them. So you can look at
# the numbers later, see what was done to an image, and repeat it. Second, the random numbers come from
# a generator with a fixed seed (its starting number), so every run draws the same ones.
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
plots.show(fig, alt="One image turned a little, magnified, of another brightness, of another "
           "contrast, mirrored, and turned by 90 degrees.", colours=128)

# %% [markdown]
# | change | could it have happened? | why |
# |---|---|---|
# | a few degrees of rotation | yes | patients lean, or lie at an angle in bed |
# | a little zoom or shift | yes | distance from the tube, body size, collimation (where the beam is cut off) |
# | brightness, contrast | yes | each manufacturer's processing; the display window |
# | blur, noise | yes | movement blurs; a low dose gives noise |
# | left-right flip | **almost never** | the heart points left; mirrored, it looks like *situs inversus*, which about one person in ten thousand has, and the L/R marker is mirrored too |
# | upside down, 90° | no, or a mistake in storage | someone would turn such an image before reading it |
# | stretched in one direction only | no | the pixels of the detector are square (but read on) |
#
# **Brightness is not exposure.** On film, a low exposure makes the image too light. A digital system
# adjusts the brightness itself. There, a low exposure appears mainly as noise (grain), and a high one often
# looks normal, so that nobody notices the dose
# ([Schaefer-Prokop 2008](https://doi.org/10.1007/s00330-008-0948-3)). So our changes of brightness and
# contrast imitate image processing, and our noise imitates a low dose.
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
# In training, all changes act together, and new numbers are drawn for each image in each epoch (each pass
# through the training images). Before you train with a setting, look at a batch of changed images. If
# *you* can no longer see the disease, then the label is no longer right, and the network learns something
# wrong.

# %% tags=["nbval-check-output", "hide-input"]
four = torch.from_numpy(films.images[:4, None] / 255).float()  # (4, 1, 128, 128)
usual, strong = Augment(), Augment.strong()
rows = [four]
for number, settings in enumerate((usual, strong)):
    rows.append(augment(four, settings, generator=torch.Generator().manual_seed(number)))
titles = ["as it is"] * 4 + ["usual"] * 4 + ["strong"] * 4
fig = plots.plot_grid(torch.cat(rows)[:, 0].numpy(), titles=titles, columns=4)
plots.show(fig, alt="Four images as they are, after the usual augmentation, and after the strong "
           "one, which also blurs, adds noise and makes some borders black.", colours=128)

# %% [markdown]
# The usual setting is gentle. The strong setting imitates another hospital: other processing, other
# framing, and noise. It sometimes makes a strip at a border black, so that the network cannot rely on a
# marker or on the edge of the collimation. Neither of them flips images.
#
# Look at the bottom row with our condition in mind. If an image has become almost white, or its lesion is
# now outside the picture, nobody could read it any more. A strong setting usually makes a few such images.
# If there are many, make it weaker.
#
# ## The same with torchvision
#
# Many programs use `torchvision.transforms.v2`. Some of its functions change an image by numbers that
# you give. We do four of these changes by hand: we rotate, zoom, flip and resize. The last one,
# *normalising*, subtracts a mean and divides by a standard deviation. A pretrained network needs input
# like that of its own training, so these two numbers often come from ImageNet, one pair per colour. (Our
# networks do this themselves.)

# %% tags=["nbval-check-output"]
from torchvision.transforms import v2

bilinear = v2.InterpolationMode.BILINEAR
closer = torch.tensor([[[1 / 1.2, 0, 0], [0, 1 / 1.2, 0]]])  # zoom by 1.2, as a matrix
grid = torch.nn.functional.affine_grid(closer, list(film.shape), align_corners=False)
zoomed = torch.nn.functional.grid_sample(film, grid, align_corners=False)
halved = film.reshape(1, 1, 64, 2, 64, 2).mean(dim=(3, 5))  # averages of 2 x 2 pixels
theirs = v2.functional.rotate(film, 15, interpolation=bilinear)
torch.testing.assert_close(theirs, by_hand, atol=1e-3, rtol=0)
theirs = v2.functional.affine(film, 0, [0, 0], 1.2, [0, 0], interpolation=bilinear)
torch.testing.assert_close(theirs, zoomed, atol=1e-3, rtol=0)
print("rotation and zoom by hand are those of torchvision")

# %% tags=["nbval-check-output"]
theirs = v2.functional.resize(film, [64, 64], antialias=False)  # elsewhere leave antialias on
torch.testing.assert_close(theirs, halved, atol=1e-4, rtol=0)
assert torch.equal(v2.functional.horizontal_flip(film), film.flip(-1))  # columns in reverse order

mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])  # of ImageNet
colour = film.expand(1, 3, -1, -1)  # red, green and blue, here equal
theirs = v2.functional.normalize(colour, mean.tolist(), deviation.tolist())
torch.testing.assert_close(theirs, (colour - mean[:, None, None]) / deviation[:, None, None])
print("resizing, flip and normalising, too")

# %% [markdown]
# Other transforms draw their numbers themselves, and `Compose` joins them into one step. We give the same
# image four times: first alone each time, then as one batch.

# %% tags=["nbval-check-output"]
recipe = v2.Compose([
    v2.RandomAffine(10, translate=(0.05, 0.05), scale=(0.9, 1.1), interpolation=bilinear),
    v2.RandomHorizontalFlip(p=0),  # many examples flip: check before you copy one
    v2.ColorJitter(brightness=0.1, contrast=0.1),
])
torch.manual_seed(0)
same_four = film.expand(4, -1, -1, -1)
alone = torch.cat([recipe(one[None]) for one in same_four])
for how, changed in (("one by one", alone), ("as one batch", recipe(same_four))):
    print(f"{how}: {len(torch.unique(changed, dim=0))} different image(s)")

# %% [markdown]
# Given a batch, most of these transforms draw *one* set of numbers for it, so every image gets the same
# rotation. Use them where images are loaded one by one. (Our `augment` draws new numbers for each image
# of a batch.)
#
# ## One by one, or a whole batch at once?
#
# Many programs change images one by one, in Python. Changing the whole batch in a few large operations
# does the same work with fewer commands, which saves time. On a graphics card (GPU), the batch is already
# on this device, and the work is done there. We measure the time of both ways on 64 images. Only the ratio
# matters, and it differs between computers. (`seconds` runs a task three times and returns the shortest
# time. `lambda:` turns the expression after it into a task that can be run later.)

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
display(Markdown(f"On this machine the same images one by one take **{one_by_one / together:.1f} "
                 "times** as long as the batch."))

# %% [markdown]
# ## Does it help? Measure it
#
# "Augmentation helps" is an assumption until you measure it, and a small test set cannot measure it
# well. So we use a design that learns as much as possible from few patients: **cross-validation by
# patient**. We divide the patients into five parts, with all images of a patient in the same part. A model
# trained on four parts scores the images of the fifth. We do this five times, so that each part is the
# fifth once. Then every image has an *out-of-fold* score: a score from a model that never saw its patient.
#
# To save time, the pretrained network stays *frozen*: its weights do not change. It turns each image
# into 1,280 features, and we train only a small model on them, a logistic regression. For training, each
# image gives three changed copies. For evaluation, the images stay *unchanged*.

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
# We compare four recipes: no augmentation (`none`); the usual one; the usual one *with flips*; and a `wild`
# one that no hospital could produce (any rotation). With the last two, about half of the copies are
# flipped.

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
# the changed copies of these images. Then it scores the images of this part. (`copied` holds the features
# of the copies to learn from, `judged` those of the images to score.)

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
# Each dot is an AUC, and each line is its 95 % interval. If two intervals overlap, can the recipes still
# differ? Yes. All recipes were evaluated on the *same* images. If these images happen to be difficult, they
# are difficult for every recipe. So the right question is about the **difference** between two recipes.
# DeLong's method gives an interval for the difference of two AUCs that were measured on the same patients.
# If zero lies inside this interval, the difference may be chance alone.

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
# - *Better* does not mean "for the reason that I expected". If even the wild recipe improves the AUC, the
#   reason is not that its changes are plausible. A model with 1,280 features and so few images may profit
#   from *any* copies, because they hide what is special about a single image. Copies also give the model
#   more rows to learn from. It is then a little freer to follow the training images (the *regularisation*
#   of notebook 3 is weaker).
# - We made three comparisons, and each can be wrong by chance in about 5 % of experiments. So even if no
#   recipe had any effect, up to one experiment in seven would call at least one recipe "better" or "worse".
# - The intervals do not include one kind of chance: with other *training* images, the models would be
#   different. So do not trust a gain whose interval is only just above zero.
#
# ### Exercise: your own recipe
#
# Make a recipe of your own with `replace(Augment.none(), ...)`: at least one change that could really
# happen to a chest radiograph, and none that could not. These are some of the settings, each with the
# number that the usual recipe has (0 means "no such change"):
#
# - `rotate=10`: by up to 10 degrees; `zoom=(0.9, 1.1)`: from 0.9 to 1.1 times the size;
# - `shift=0.05`: by up to 5 % of the width or height;
# - `brightness=0.1`, `contrast=0.1`: by up to a tenth;
# - `noise=0`, `blur=0`: try 0.02 for noise, and 1 for blur;
# - `flip=0`: the share of images that are flipped.
#
# `copies(mine)` computes the features of the copies that the recipe `mine` makes. Give these to
# `cross_validated`, and call the result `tried`. Before you run the cell, say what you expect.

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
# On images from your own hospital ("at home"), augmentation may improve little. Images from another
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
# This test is too easy for the augmentation: we made the other hospital with almost the same changes as
# the training copies. A real hospital differs in ways that nobody has imitated. So treat a gain here
# as a best case.
#
# If a recipe does *better* elsewhere than at home, do not look for a reason. If the intervals overlap a
# lot, chance is enough to explain it.
#
# Look at the last two rows too. If recipes that no hospital could produce do as well as the usual one,
# the table shows that *some* variety helps, not that plausible variety helps more. This test cannot show
# any harm of a flip, because almost no data set has images with the heart on the other side. We do not flip
# because of what we know about patients, not because of this AUC.
#
# > **Common mistakes.** Augmentation is for training. If you also change the test images, you measure
# > something else. (Here we did it on purpose, to ask about another hospital, and we said so.) Also, all
# > copies of an image must stay on the same side of the split. A copy of a training image in the test set
# > is data leakage.
#
# ### Exercise: break the rule
#
# A change must never depend on the label. See what happens if it does:
#
# 1. Make a copy of the images, `films.images.copy()`, and call it `tilted`.
# 2. In this copy, rotate **only the images with pneumonia** (label 1 in `films.labels`) by 15 degrees.
#    `rotate(image, 15, reshape=False)` returns one rotated image, with black corners.
# 3. Compute the features of all these images: `x = training.extract_features(model, tilted)`.
# 4. Cross-validate with them: `too_good = cross_validated(x[None], judged=x)`. (`x[None]` says that there is
#    one changed copy of each image. `judged=x` says that the changed images are scored, too.)

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
# - A flip puts the heart on the wrong side. It may even raise a score, but almost no patient looks
#   like that. Use it where left and right do not matter.
# - Measure the *difference*, with an interval, and keep all images of a patient together. Expect the
#   gain mainly on images from elsewhere.
# - Draw new numbers for each image, and apply them to the whole batch at once, on the device.
#
# ## Further reading
#
# - Shorten and Khoshgoftaar, [*A survey on Image Data Augmentation for Deep
#   Learning*](https://doi.org/10.1186/s40537-019-0197-0), Journal of Big Data 2019
# - DeLong, DeLong and Clarke-Pearson, [*Comparing the Areas under Two or More Correlated Receiver
#   Operating Characteristic Curves*](https://doi.org/10.2307/2531595), Biometrics 1988
# - Pérez-García, Sparks and Ourselin, [*TorchIO*](https://doi.org/10.1016/j.cmpb.2021.106236),
#   Computer Methods and Programs in Biomedicine 2021
# - PyTorch, [Transforming and augmenting
#   images](https://docs.pytorch.org/vision/stable/transforms.html): the documentation of
#   torchvision's transforms
#
# ## Next step
#
# In [3. Fine-tune](/notebooks/03_finetune.ipynb) we train the network itself, with the training loop
# written out in full.

# %% [markdown]
# # 5. Explain: where a network looked, and how far to trust the map
#
# {{badges}}
#
# **You will be able to**
#
# - build Grad-CAM by hand with two hooks, and say what each number in it means;
# - make maps with other methods, and with a network that has its own attention;
# - test a map: against the true lesion, against chance, and against a network that knows nothing;
# - find a shortcut that a high AUC hides.
#
# **You need first:** the [quickstart](/quickstart.ipynb). [Notebook 4](/notebooks/04_evaluate.ipynb)
# helps with intervals.
#
# {{contract}}
#
# {{solutions}}

# %% [markdown]
# ## The question
#
# A network says "pneumonia, 0.93". A radiologist asks: *where?* A **saliency map** tries to answer. It
# should be bright where the image mattered to the score.
#
# Maps convince people, even when they are wrong. Readers tend to follow a computer's suggestion
# (**automation bias**). In a pilot study, six radiologists made more errors with a wrong AI result than
# without AI (Bernstein and others, 2023). On real chest radiographs, maps of seven methods located disease
# worse than radiologists (Saporta and others, 2022). So half of this notebook tests maps.
#
# We use the radiographs of the sample (`films` in the code), because their lesions are known to the
# pixel. Most public sets have no lesion masks, so they cannot test maps in this way. If your set has
# none, this notebook says so and uses the sample.

# %%
import re
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display
from scipy.ndimage import maximum_filter

from medimg import datasets, exercises, explain, metrics, models, plots, training
from medimg.augment import Augment

rng = np.random.default_rng(0)

# %% tags=["nbval-check-output"]
studies = datasets.load(classes=2)
studies = datasets.subsample(studies, {"train": 70, "val": 30, "test": 100}, rng=rng)
if "mask_path" not in studies:
    print("This set knows no lesions: going on with the sample, whose lesions are known.")
    studies = datasets.load("sample")
films = datasets.decode(studies, size=160)
masks = datasets.decode_masks(studies, size=160)
print(f"{len(films)} images; {int(masks.any(axis=(1, 2)).sum())} show a lesion, which covers "
      f"{masks[masks.any(axis=(1, 2))].mean():.0%} of the image on average")

# %% [markdown]
# Two facts about the sample's masks. First, they are generous. A mask holds every pixel where the
# disease weakens the X-rays by more than about 4 %, so even a weak lesion has a large mask, and no
# reader would *see* all of it. Second, the lungs around the disease contain a little more air, so that
# the mean brightness does not give the label away. So a map may be bright in the rest of the lungs for a
# reason.
#
# We train as in [notebook 3](/notebooks/03_finetune.ipynb): first the head, then the whole network with
# small steps. Then we explain images of patients that the network was not trained on. (The validation
# images among them also chose the epoch, so the AUC below is a little too high.)

# %%
train, val = films.subset("train"), films.subset("val")
settings = replace(training.recipe(len(train)), strategy="head_then_all", epochs=6,
                   class_weights="balanced")
model = models.build_model("efficientnet_lite0")
model = training.fit(model, train, val, settings=settings).model
unseen = films.subset(films.splits != "train")
truth = masks[films.splits != "train"]
scores = training.predict(model, unseen)
display(Markdown(f"AUC on {len(unseen)} images of unseen patients: **{metrics.auc(scores):.2f}**."))

# %% [markdown]
# ## Grad-CAM by hand
#
# Near its end, the network holds a stack of small pictures, the *feature maps*. There are 1,280 of them,
# each with 5 by 5 places. Each one, a *channel*, shows where in the image a learned pattern was found.
# **Grad-CAM** asks two questions:
#
# 1. How strongly does each channel respond at each place? That is its *activation*.
# 2. How much does the pneumonia score rise if that activation rises? That is the *gradient* of the
#    score.
#
# A *hook* is a function that PyTorch calls while it computes, so that we can see values inside the
# network: one hook for the forward pass, one for the backward pass. (`lambda` makes a small function
# without a name. It gets the layer, its input and its output, or their gradients. We keep only the
# last.)

# %%
kept = {}
layer = models.target_layer(model)
forward = layer.register_forward_hook(lambda m, i, out: kept.update(activations=out))
backward = layer.register_full_backward_hook(lambda m, i, out: kept.update(gradients=out[0]))
shown = int(np.flatnonzero(truth.any(axis=(1, 2)))[0])
film = torch.from_numpy(unseen.images[shown][None, None] / 255).float().requires_grad_()
logits = model(film)  # (1, 2): one number for normal, one for pneumonia
(logits[0, 1] - logits[0, 0]).backward()
forward.remove(), backward.remove()
activations, gradients = kept["activations"].detach(), kept["gradients"]

# %% tags=["nbval-check-output"]
print("activations", tuple(activations.shape), " gradients", tuple(gradients.shape))

# %% [markdown]
# We explain the *difference* of the two logits (the log-odds of pneumonia), not the pneumonia logit
# alone. Only the difference decides: if you add the same number to both logits, no probability changes.
# A map of one logit may show places that raise both classes, and so favour neither.
#
# Now three steps. Average each gradient over the places: one weight for each of the 1,280 channels. Add
# up the activations with these weights: one small picture. Keep only what speaks *for* pneumonia
# (`relu`), and enlarge it to the size of the image.

# %%
weights = gradients.mean(dim=(2, 3), keepdim=True)          # (1, 1280, 1, 1)
small = torch.relu((weights * activations).sum(dim=1))[0]   # (5, 5)
by_hand = torch.nn.functional.interpolate(small[None, None], (160, 160), mode="bilinear")[0, 0]
by_hand = ((by_hand - by_hand.min()) / (by_hand.max() - by_hand.min() + 1e-12)).numpy()

# %% [markdown]
# `explain.explain` does the same for a whole batch, with the library pytorch-grad-cam. If we understood
# it, the two maps must agree. We ask for class 1, pneumonia. Without `target`, each map explains the
# class that the network predicts; the maps' `names` say which one. With more than two classes, a map
# explains the log-odds of one class against all others.

# %% tags=["nbval-check-output"]
ours = explain.explain(model, unseen.images[shown:shown + 1], method="gradcam", target=1)[0]
np.testing.assert_allclose(by_hand, ours, atol=1e-3)
print("by hand and by the library: the same map")

# %% tags=["nbval-check-output", "hide-input"]
fig, axes = plt.subplots(1, 3, figsize=(7, 2.6), layout="constrained")
plots.plot_image(unseen.images[shown], title="the image", ax=axes[0])
axes[1].imshow(small.numpy(), cmap="magma")
axes[1].set_title("5 x 5 places, as computed", fontsize=10)
axes[1].set(xticks=[], yticks=[])
plots.plot_map(unseen.images[shown], by_hand, mask=truth[shown], ax=axes[2],
               title="enlarged; lesion dashed")
plots.show(fig, alt="An image, its Grad-CAM as five by five squares, and the same enlarged: parts "
           "of the bright region lie outside the outlined lesion.", colours=128)

# %% [markdown]
# The middle picture *is* the resolution of Grad-CAM: squares of 32 pixels. The smooth cloud on the right is only an enlargement. Its fine contours carry no information.
# And where a map is bright outside the chest, do not explain it away: the tests below will count it. (In
# all such figures, the white line surrounds the places where the map reaches half of its maximum.
# The dashed line is the true lesion.)
#
# ## Other methods
#
# | method | what it asks |
# |---|---|
# | Grad-CAM | Which activations raise the score, weighted by the mean gradient? |
# | LayerCAM | The same, but each place keeps its own gradient. |
# | EigenCAM | What is the strongest pattern in the activations? It does not depend on the class. |
# | occlusion | If we cover a patch, how far does the score fall? No gradients, but slow; an image with a patch is unlike the training images; and no single patch may cover a large lesion. |
#
# All four, on the same three images:

# %% tags=["nbval-check-output"]
some = np.flatnonzero(truth.any(axis=(1, 2)))[:3]
methods = ("gradcam", "layercam", "eigencam", "occlusion")
maps = {m: explain.explain(model, unseen.images[some], method=m, target=1) for m in methods}
titles = [f"score {s:.2f}" for s in scores.y_score[some]]
by_gradient = {m: maps[m] for m in ("gradcam", "layercam")}
fig = plots.plot_map_grid(unseen.images[some], by_gradient, masks=truth[some], titles=titles,
                          target=unseen.classes[1])
plots.show(fig, alt="Maps of three images with the true lesion outlined: Grad-CAM's bright region "
           "is smaller than LayerCAM's; both also lie outside the lesion.", colours=128)

# %% tags=["nbval-check-output"]
without_gradient = {m: maps[m] for m in ("eigencam", "occlusion")}
fig = plots.plot_map_grid(unseen.images[some], without_gradient, masks=truth[some], titles=titles,
                          target=unseen.classes[1])
plots.show(fig, alt="The same images: EigenCAM is bright in the middle of each chest, occlusion "
           "only in a few small squares, some outside the outlined lesion.", colours=128)

# %% [markdown]
# Where the methods disagree, nothing in the pictures says which one is right. Remember this when a paper
# shows convincing maps made by one method.
#
# ## A network with built-in attention
#
# You can also build the map *into* the network. An **attention** head (Ilse and others, 2018) gives each
# place a weight. The weights sum to one, and the score is computed from the weighted mean. So the map is
# part of the computation.

# %% tags=["nbval-check-output"]
attentive = models.build_model("efficientnet_lite0", head="attention")
frozen = replace(settings, strategy="head", epochs=12, learning_rate=3e-3)
attentive = training.fit(attentive, train, val, settings=frozen).model
with torch.inference_mode():
    batch = torch.from_numpy(unseen.images[some][:, None] / 255).float()
    attention = attentive.attention(batch)  # (3, 5, 5), each sums to 1
looked = {"attention": explain.explain(attentive, unseen.images[some], method="attention")}
fig = plots.plot_map_grid(unseen.images[some], looked, masks=truth[some])
plots.show(fig, alt="Attention of a frozen network on three images: it lies in the corners of the "
           "image, outside the outlined lesion.", colours=128)

# %%
attentive_auc = metrics.auc(training.predict(attentive, unseen))
known = attentive_auc.low > 0.5
display(Markdown(f"AUC of the network with attention: **{attentive_auc:.2f}**. " + (
    "It has learned something." if known else
    "This does not show that it has learned anything, so do not rely on its map.")))

# %% [markdown]
# Even these weights may lie outside the lungs, for example near the side marker (L or R). The map cannot say whether the network *uses* that letter: each place of the 5 by 5
# grid depends on a large part of the image, through the layers before it. So the weights say *where* the
# score was computed, not *what* was seen there.
#
# ### Attention in a vision transformer
#
# A **vision transformer** (ViT) cuts the image into patches of 16 by 16 pixels. In each block, every
# patch takes in a weighted mean of all patches: *self-attention*. *Rollout* (Abnar and Zuidema, 2020)
# multiplies these weights through all blocks. By hand, with hooks, for random weights:

# %%
vit = models.build_model("vit_small_patch16_224", pretrained=False)  # no download
blocks, seen = [part for part in vit.modules() if hasattr(part, "fused_attn")], []
hooks = [block.qkv.register_forward_hook(lambda m, i, out: seen.append(out)) for block in blocks]
with torch.inference_mode():
    vit(batch)
for hook in hooks:
    hook.remove()

# %% tags=["nbval-check-output"]
rollout = same = torch.eye(seen[0].shape[1])  # 101 x 101: the class token and 10 x 10 patches
for out in seen:
    query, key, _ = out.unflatten(2, (3, blocks[0].num_heads, -1)).permute(2, 0, 3, 1, 4)
    weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1).mean(dim=1)
    rollout = (weights + same) / 2 @ rollout
small = rollout[:, :1, 1:].reshape(-1, 1, 10, 10)  # how much of each patch reaches the answer
large = torch.nn.functional.interpolate(small, (160, 160), mode="bilinear")[:, 0].numpy()
low, high = (f(large, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
theirs = explain.explain(vit, unseen.images[some], method="rollout")
np.testing.assert_allclose((large - low) / (high - low), theirs, atol=0.01)
print(f"{len(blocks)} blocks; rollout by hand and by the library: the same maps")

# %% [markdown]
# Rollout knows no class, and we have not trained this network, so we draw no map.
#
# ### Exercise: the last block alone
#
# How strongly does the class token attend to each patch in the **last block**? `weights` still holds that
# block: (images, to, from), where token 0 is the class token. Submit an array (3, 10, 10).

# %% tags=["exercise"]
# solution: begin
last = weights[:, 0, 1:].reshape(-1, 10, 10)
# blank: last = ...
# solution: end
exercises.check("05-attention", last, weights=weights)
# exercises.hint("05-attention")  # remove the first # to see a hint

# %% [markdown]
# ## Test the map
#
# ### Test 1: does it point at the lesion?
#
# The **pointing game** asks: is the brightest place of the map inside the true lesion? We count the hits
# over all images with a lesion. But what is a good count? If lesions covered half of every image, a
# random point would hit half of the time. So each test comes with its **chance** level. Here it is the
# mean share of the image that the lesions cover.
#
# The second measure, the *IoU*, uses more than one place. It takes the brightest part of the map, as
# large as the lesion, and divides the area that both share by the area that either covers. Its interval
# comes from a *bootstrap*: draw patients with replacement, compute the measure, and repeat many times.

# %%
everyone = explain.explain(model, unseen.images, method="gradcam", target=1)
hits = 0
for heat, lesion in zip(everyone, truth, strict=True):
    if lesion.any():
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        hits += bool(lesion[row, column])
print(f"by hand: {hits} of {int(truth.any(axis=(1, 2)).sum())} maps point into the lesion")

# %% [markdown]
# The library's result may differ a little. If several pixels tie for the brightest, the library counts
# the share of them inside the lesion; `argmax` takes the first one.

# %% tags=["headline"]
game = explain.pointing_game(everyone, truth, patient_ids=unseen.patients)
overlap = explain.iou_at_matched_area(everyone, truth, patient_ids=unseen.patients)
verdict = "above chance by area" if game.estimate.low > game.chance else (
    "not shown to be above chance by area: too few images, or a poor map")
display(Markdown(f"Pointing game **{game.estimate:.2f}**, by chance {game.chance:.2f}: {verdict}. "
                 f"Overlap with the lesion (IoU) {overlap.estimate:.2f}, by chance "
                 f"{overlap.chance:.2f}."))

# %% [markdown]
# Chance by area is a low bar. These lesions are large, and they lie where lungs lie. With enough images,
# any map that is bright over the lungs beats it.
#
# So we set a higher bar: we repeat both tests with the map of *another patient*. That map knows where
# lungs usually lie, but nothing about this patient's lesion. (We must not pair two images of one
# patient. So we sort the images by patient, and shift the maps by the largest number of images that any
# patient has.)

# %% tags=["nbval-check-output"]
ordered = np.flatnonzero(truth.any(axis=(1, 2)))
ordered = ordered[np.argsort(unseen.patients[ordered], kind="stable")]
whose = unseen.patients[ordered]
strangers = np.roll(ordered, np.unique(whose, return_counts=True)[1].max())
assert not np.any(whose == unseen.patients[strangers])
print(f"{len(ordered)} images with lesions, {len(set(whose))} patients, each with a stranger's map")

# %%
rows = []
for name, test in (("pointing game", explain.pointing_game), ("IoU", explain.iou_at_matched_area)):
    own, other = (test(everyone[maps_of], truth[ordered], patient_ids=whose)
                  for maps_of in (ordered, strangers))
    lead = metrics.mean_by_patient(own.per_image - other.per_image, whose)
    said = "better" if lead.low > 0 else "worse" if lead.high < 0 else "not shown to differ"
    difference = re.sub(r"no interval.*", "no interval)", f"{lead:+.2f}")
    rows.append(f"| {name} | {own.estimate:.2f} | {other.estimate:.2f} | {difference} | {said} |")
display(Markdown("| | own map | another patient's map | difference | own map is |\n"
                 "|---|---|---|---|---|\n" + "\n".join(rows)))

# %% [markdown]
# The difference is computed image by image, and the bootstrap draws patients. If the patient's own map
# is not shown to be better, the network may do no more than highlight the lungs. But where lesions are
# large and lie in similar places, another patient's map can also score well.
#
# With few positive images the intervals are wide, so we can conclude little. *No interval* means that
# all patients gave the same value. Others might not.
#
# ### Exercise: are the hits only large lesions?
#
# A large lesion is easy to hit. `truth` holds the lesions and `everyone` the maps, both (images, rows,
# columns). Draw one dot per image with a lesion: across, the share of the image that the lesion covers; up,
# the share of the map's sum that lies inside it. Name both axes, and submit them. (A map spread evenly over
# the image would put every dot on the diagonal.)

# %% tags=["exercise"]
# solution: begin
lesioned = truth.any(axis=(1, 2))
covered = truth[lesioned].mean(axis=(1, 2))
inside = (everyone * truth)[lesioned].sum(axis=(1, 2)) / everyone[lesioned].sum(axis=(1, 2))
figure, ax = plt.subplots(figsize=(4.4, 3.6), layout="constrained")
ax.scatter(covered, inside)
ax.plot([0, 1], [0, 1], color="black", ls=":")
ax.set(xlabel="share of the image", ylabel="share of the map", xlim=(0, 1), ylim=(0, 1))
plots.show(figure, alt="One dot per lesion: its share of the image, and of the map's sum.")
# blank: ax = ...
# solution: end
exercises.check("05-size", ax, maps=everyone, lesions=truth)
# exercises.hint("05-size")  # take away the first # for a hint

# %% [markdown]
# ### Test 2: what if the network knew nothing?
#
# Adebayo and others (2018) asked: if we randomise the weights, so that nothing learned is left, does the
# map change? If a method draws the same picture for a network that knows nothing, the picture shows the
# *image*, not what the network learned. We randomise from the head downwards, a few more layers each
# time, and compare each map with the first one.
#
# <details><summary>Going further: why we shuffle the weights</summary>
#
# Adebayo and others draw new random weights. We *shuffle* the learned weights within each layer. With
# new weights, the signal in our network fades to almost nothing before the last layer. The maps are
# blank and pass this test for the wrong reason. Shuffled weights keep the signal's strength: a stricter
# test.
#
# </details>

# %% tags=["nbval-check-output"]
lesioned = truth.any(axis=(1, 2))
cascade = explain.cascade_randomisation(model, unseen.images[lesioned], masks=truth[lesioned],
                                        target=1, groups=4,
                                        patient_ids=unseen.patients[lesioned])

# %% tags=["nbval-check-output", "hide-input"]
fig, ax = plt.subplots(figsize=(6.2, 4), layout="constrained")
names = cascade["down_to"][1:].str.extract(r"(head|blocks\.\d\.\d|stem)")[0]
steps = ["trained", *("+ " + names)]
for name, style in (("agreement", "o-"), ("pointing", "s--")):
    value, low, high = np.array([(e.value, e.low, e.high) for e in cascade[name]]).T
    ax.errorbar(steps, value, np.abs([value - low, high - value]), fmt=style, capsize=3, label=name)
ax.axhline(game.chance, color="grey", ls=":", label="pointing by chance")
ax.set(xlabel="Weights shuffled, from the output down", ylabel="Value (95 % interval)")
ax.legend()
plots.show(fig, alt="As more layers are shuffled, agreement with the first maps falls from 1 to "
           "about 0, and pointing to chance or below; neither falls evenly.")

# %% [markdown]
# Read the figure from left to right, as the network forgets. One line shows how similar the maps still
# are to the first maps (agreement): 1 is the same map, 0 is no similarity, and below 0 bright and dark
# are exchanged. The other line shows how often the maps still point at the lesion. The labels name the
# deepest layer shuffled so far: `head` is nearest to the score, `stem` nearest to the image. The more
# the network forgets, the less a good map should look like the first one.
#
# At the last points all weights are shuffled, but neither line has to be at its chance level. To see
# why, we need the maps of two *different patients* by the trained network, and more than one shuffle.

# %%
last = cascade.iloc[-1]
strange = explain.agreement(everyone[ordered], everyone[strangers], patient_ids=whose).estimate
games = []
for seed in range(1, 6):
    forgetful = explain.randomise_weights(model, seed=seed)
    blind = explain.explain(forgetful, unseen.images[lesioned], target=1)
    games.append(explain.pointing_game(blind, truth[lesioned]).estimate.value)
display(Markdown(
    f"With all weights shuffled, the agreement is {last['agreement']:.2f} and the pointing game "
    f"{last['pointing']:.2f} (chance {game.chance:.2f}). For maps of two different patients by the "
    f"trained network, the agreement is {strange:.2f}. Five more shuffles point at the lesion in "
    + ", ".join(f"{value:.2f}" for value in sorted(games)) + " of the images."))

# %% [markdown]
# *Agreement.* Two coarse maps of chest radiographs can be similar before any training. Even a shuffled
# network usually responds more strongly to edges and bright areas than to the empty border. So its maps,
# too, may be bright where chests are. Maps of two different patients share this. Compare with
# *their* agreement, not with 0.
#
# *Pointing.* A shuffled network often highlights the same place in every image, or nothing at all. If
# that place is in the middle of the chest, it hits large lesions far more often than chance; if not, it
# may never hit. So one good result of such a network is luck. But it is also a warning: if shuffled
# networks point as well as ours, the pointing game is no evidence for our map.
#
# ### Test 3: all tests in one table, with two baselines
#
# Our table has one method, Grad-CAM, and two baselines that never use the network: a
# bright spot in the *centre* of each image, and the *edges* of the image itself. If a method does not
# beat these baselines in a test, that test does not show that the method explains anything.
#
# The rows are the tests. Two are new:
#
# - *Energy inside* is the share of the map's total brightness that lies inside the lesion.
# - *ROAD* removes from the image the bright or the dark places of the map. Above 0, removing the bright
#   places lowers the probability more.
#
# The rows with *randomised* use a network whose weights have all been shuffled. Its maps should not
# point better than chance, and should not agree with the first maps more than another patient's map
# does. The baselines use no network, so their cells are empty there.

# %%
few = np.flatnonzero(lesioned)[:5]  # one of the tests, ROAD, takes about a second per image
table = explain.compare_methods(model, unseen.images[few], truth[few], methods=("gradcam",),
                                target=1, patient_ids=unseen.patients[few])
table["result"] = [re.sub(r"no interval.*", "no interval)", f"{e:.2f}") for e in table["estimate"]]
shown = table.set_index(["test", "method"])["result"].unstack(fill_value="")
chance = table.groupby("test")["chance"].first()[shown.index]
shown.assign(chance=["" if np.isnan(level) else f"{level:.2f}" for level in chance])

# %% tags=["hide-input"]
own, spot = (table.set_index(["method", "test"])["estimate"][name, "IoU at matched area"]
             for name in ("gradcam", "centre"))
apart = max(own.low, spot.low) > min(own.high, spot.high)
said = "**the intervals are apart**" if apart else "**no difference shown**"
display(Markdown(f"IoU {spot:.2f} for the spot in the centre, which knows nothing, {own:.2f} for "
                 f"Grad-CAM, on {len(few)} images: {said}."))

# %% [markdown]
# Five images show how to read the table, not which
# method is best. Nor do overlapping intervals show that two methods are equal: both explain the same
# images, so compute the difference image by image, as in test 1. If the spot does as well as the map, a
# good overlap shows only that lesions are large and lie near the middle. (A
# *randomised* agreement of exactly zero, without an interval, means that the shuffled network drew blank
# maps. A blank map agrees with nothing, and the pointing game gives it the chance level.)

# %% [markdown]
# ## The shortcut lab
#
# Now we build a shortcut ourselves. In many hospitals, very sick patients are imaged in bed with a
# portable machine, and its images often carry a different marker (Zech and others, 2018). So a letter in
# the corner can predict who is sick.
#
# We add a large "L" to the upper corner, on the patient's left (right in the picture: the patient faces
# us), of every image **with pneumonia**: in training, in validation, *and in the test*, as if all images
# came from that hospital. (Each image also has a small side marker of its own, which tells nothing.)

# %% tags=["nbval-check-output"]
marked = explain.plant_marker(films.images, films.labels == 1, size=0.18,
                              rng=np.random.default_rng(1))
tainted = replace(films, images=marked.images)
fig = plots.plot_grid(tainted.images[films.labels == 1][:4], columns=4)
plots.show(fig, alt="Four images with pneumonia, each with its small marker and a large L.",
           colours=48)

# %%
quick = replace(settings, strategy="all", epochs=5, learning_rate=1e-3, C=0.0,
                freeze_norms=False, ema=0.0, augment=Augment.none(), patience=5)
misled = models.build_model("efficientnet_lite0")
misled = training.fit(misled, tainted.subset("train"), tainted.subset("val"), settings=quick).model
on_marked = training.predict(misled, tainted.subset(films.splits != "train"))
clean = training.predict(misled, unseen)
display(Markdown(f"On images with the marker, the AUC is **{metrics.auc(on_marked):.2f}**."))

# %% [markdown]
# A paper could stop here: no patient is in two splits, and the AUC has its interval. Nothing in the
# number warns us, because the test images carry the same marker. How can you find out?
#
# **Test the same images without the marker.** (Or images from another hospital: that is an *external
# validation*.)

# %% tags=["headline"]
change = metrics.auc_difference(clean, on_marked)
display(Markdown(
    f"With the marker {metrics.auc(on_marked):.2f}, without it {metrics.auc(clean):.2f}: the AUC "
    f"changes by {change:+.2f}. " + ("Part of what it knew was the letter." if change.high < 0 else
                                     "On so few images a fall is not beyond doubt.")))

# %% [markdown]
# **Swap the marker.** Give it to the images *without* pneumonia, and remove it from those with
# pneumonia. A network that uses only the lungs keeps its AUC. A network that uses only the letter
# reverses its answers. A network that uses both is in between.

# %%
swapped = explain.plant_marker(films.images, films.labels == 0, size=0.18,
                               rng=np.random.default_rng(1))
turned = training.predict(misled, replace(films, images=swapped.images).subset(
    films.splits != "train"))
swap, turn = metrics.auc(turned), metrics.auc_difference(turned, on_marked)
if not (turn.high < 0 or swap.high < metrics.auc(on_marked).low):
    verdict = "With so few images, it is not shown that the letter matters."
elif swap.high < 0.5:
    verdict = "Most answers are reversed: where lungs and letter disagree, it follows the letter."
else:
    verdict = "The letter works against the lungs: the network uses both."

# %% tags=["hide-input"]
display(Markdown(f"Marker on images without pneumonia: AUC **{swap:.2f}**. Compared with the "
                 f"marker on images with pneumonia, the difference is {turn:+.2f}. {verdict}"))

# %% [markdown]
# Why two experiments? A network that has learned the disease *and* the letter may do quite well without
# the letter. Only where lungs and letter disagree do you see which of the two it follows. (Train
# again, and another network may follow the letter more, or less.)
#
# **Look at the maps, and test them against the marker.** `marks` holds the box around the letter, so we
# can play the pointing game with the *letter*. To be fair to a map whose places are 32 pixels wide, we
# make the box 16 pixels wider on each side, for the hits and for the chance level. We also compute the
# share of the map's total brightness inside that box.

# %% tags=["nbval-check-output"]
held = films.splits != "train"
sick = films.labels[held] == 1
heat = explain.explain(misled, marked.images[held], method="gradcam", target=1)
near_letter = maximum_filter(marked.marks[held][sick], size=(1, 33, 33))  # 16 pixels more all round
on_letter = explain.pointing_game(heat[sick], near_letter, patient_ids=unseen.patients[sick])
on_lesion = explain.pointing_game(heat[sick], truth[sick], patient_ids=unseen.patients[sick])
share = explain.energy_inside(heat[sick], near_letter, patient_ids=unseen.patients[sick])
fig = plots.plot_map_grid(marked.images[held][sick][:3], {"misled network": heat[sick][:3]},
                          masks=truth[sick][:3], target=films.classes[1])
plots.show(fig, alt="Maps of the misled network on three marked images: a warm block from the "
           "corner with the letter down over the lung, into the outlined lesion.", colours=128)

# %% tags=["hide-input"]
if on_letter.estimate.low > on_letter.chance:
    verdict = "The brightest places reveal the shortcut."
elif share.estimate.low > share.chance:
    verdict = "The brightest places alone do not reveal the shortcut; the bright regions reach it."
else:
    verdict = "**Neither count reveals the shortcut.** That does not prove that there is none."
display(Markdown(
    f"The brightest place is at the letter in {on_letter.estimate:.2f} of the images (by chance "
    f"{on_letter.chance:.2f}), in the lesion in {on_lesion.estimate:.2f} (by chance "
    f"{on_lesion.chance:.2f}). Of the brightness, {share.estimate:.2f} lies at the letter (spread "
    f"evenly: {share.chance:.2f}). {verdict}"))

# %% [markdown]
# Look at the figure again: do the bright regions reach the letter? One pixel per image, or one sum, is a
# coarse summary. A bright corner is suspicious, because pneumonia does not lie there, but it is not
# proof. The swap shows what the network uses.
#
# ### A plausible map for a wrong reason
#
# What if the mark lies *over the lung*? Very sick patients often wear ECG electrodes. On a radiograph an
# electrode can lie just where pneumonia may be, and a map that is bright there looks convincing.

# %%
button = explain.plant_marker(films.images, films.labels == 1, kind="electrode", size=0.14,
                              rng=np.random.default_rng(2))
wired = replace(films, images=button.images)
fooled = models.build_model("efficientnet_lite0")
fooled = training.fit(fooled, wired.subset("train"), wired.subset("val"), settings=quick).model
heat = explain.explain(fooled, button.images[held], method="gradcam", target=1)
moved = explain.plant_marker(films.images, films.labels == 0, kind="electrode", size=0.14,
                             rng=np.random.default_rng(2))
trials = {"on images with pneumonia": wired.subset(held), "on no image": unseen,
          "on images without pneumonia": replace(films, images=moved.images).subset(held)}
found = {where: metrics.auc(training.predict(fooled, one)) for where, one in trials.items()}

# %% tags=["nbval-check-output"]
fig = plots.plot_map_grid(button.images[held][sick][:3], {"fooled network": heat[sick][:3]},
                          masks=truth[sick][:3], target=films.classes[1])
plots.show(fig, alt="Maps of a network that learned an electrode over the lung, on three images: "
           "one large bright area holds electrode and lesion, and runs to the edge.", colours=128)

# %% tags=["hide-input"]
marked_at = {"electrode": button.marks[held][sick], "lesion": truth[sick]}
hits = [f"on the {name} {explain.pointing_game(heat[sick], where).estimate.value:.2f}"
        for name, where in marked_at.items()]
verdict = ("On images without pneumonia, the electrode overrules the lungs."
           if found["on images without pneumonia"].high < 0.5 else
           "It is not shown here that the electrode overrules the lungs.")
display(Markdown("Electrode " + "; ".join(f"{w}: AUC **{auc:.2f}**" for w, auc in found.items())
                 + f". {verdict} Brightest place {', '.join(hits)} of the images."))

# %% [markdown]
# So coarse a map holds electrode, lung and lesion at once. Only an *experiment* shows the reason, and not
# every experiment does. Without the electrode the network may do well, because it also learned from the
# lungs. So put the electrode on the images without pneumonia. If the AUC falls below one half, the
# electrode overrules the lungs. The rule of this notebook: **a map raises questions; an experiment
# answers them.**
#
# The next function trains a head on images with a mark, and tests it twice: on them, and with the mark
# swapped.

# %% tags=["hide-input"]
def judge(tainted, swapped):
    """Train a head on the tainted images; return its AUC on them, and with the mark swapped."""
    sets = [replace(films, images=images) for images in (tainted, swapped)]
    head = models.build_model("efficientnet_lite0", classes=films.classes)
    head = training.fit_head(head, sets[0].subset("train"), C=0.1).model
    return [metrics.auc(training.predict(head, one.subset(held))).value for one in sets]


# %% [markdown]
# ### Exercise: build your own shortcut
#
# Invent a mark that would not keep a radiologist from reading the image, and break a model with it. Change
# at most a tenth of an image, in any way: a grey strip, a scratch, a pattern. Submit two arrays: `mine`,
# where only the images **with** pneumonia carry the mark, and `swapped`, where only those **without** it
# do. A good shortcut makes the second AUC that `judge` returns at least 0.3 lower than the first.

# %% tags=["exercise"]
# solution: begin
def with_strip(which):
    """Return all images; those chosen have a thin striped border on the left."""
    changed = films.images.copy()
    changed[which, :, :10] = np.tile(np.uint8([255, 255, 0, 0, 255]), 2)
    return changed


mine, swapped = with_strip(films.labels == 1), with_strip(films.labels == 0)
# blank: mine = ...  # a copy of films.images; some of its rows are changed
# blank: swapped = ...
# solution: end
exercises.check("05-break", [mine, swapped], films=films, judge=judge)
# exercises.hint("05-break")  # take away the first # for a hint

# %% [markdown]
# ## Key points
#
# - Grad-CAM is three steps. Its true resolution is that of the last layer; the rest is enlargement.
# - Explain the difference between the classes, not the logit of one class alone.
# - Test a map, give the result an interval, and compare it with a fair baseline. Another patient's map
#   is a better baseline than chance.
# - The map of a network that knows nothing must look different.
# - The AUC cannot show a shortcut that the test set shares. Change the images and test again.
#
# ## Further reading
#
# - Selvaraju et al., [*Grad-CAM*](https://doi.org/10.1109/ICCV.2017.74), ICCV 2017
# - Adebayo et al., [*Sanity Checks for Saliency Maps*](https://arxiv.org/abs/1810.03292), NeurIPS
#   2018
# - Saporta et al., [*Benchmarking saliency methods for chest X-ray
#   interpretation*](https://doi.org/10.1038/s42256-022-00536-x), Nature Machine Intelligence 2022
# - Bernstein et al., [*Can incorrect artificial intelligence (AI) results impact radiologists, and if
#   so, what can we do about it?*](https://doi.org/10.1007/s00330-023-09747-1), European Radiology
#   2023
# - Abnar and Zuidema, [*Quantifying Attention Flow in
#   Transformers*](https://arxiv.org/abs/2005.00928), ACL 2020
# - Ilse, Tomczak and Welling, [*Attention-based Deep Multiple Instance
#   Learning*](https://arxiv.org/abs/1802.04712), ICML 2018
# - Zech et al., [*Variable generalization performance of a deep learning model to detect pneumonia in
#   chest radiographs*](https://doi.org/10.1371/journal.pmed.1002683), PLOS Medicine 2018
# - DeGrave, Janizek and Lee, [*AI for radiographic COVID-19 detection selects shortcuts over
#   signal*](https://doi.org/10.1038/s42256-021-00338-7), Nature Machine Intelligence 2021
#
# ## Next step
#
# [6. Ethics](/notebooks/06_ethics.ipynb): whose images, whose risk, and what the law requires.

# %% [markdown]
# # 5. Explain: what a network looked at, and how far to believe the picture
#
# {{badges}}
#
# **You will be able to**
#
# - build Grad-CAM by hand with two hooks, and say what each number in it means;
# - make maps by other methods, and by a network that carries its own attention;
# - put a map to the test: against the true lesion, against chance, against a network that knows nothing;
# - find a shortcut that a splendid AUC hides.
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
# A network says "pneumonia, 0.93". A radiologist asks: *where?* A **saliency map** is an answer of a
# kind: a picture that is bright where the image mattered to the score. Such pictures persuade. They
# persuade even when they are wrong, and that is why half of this notebook is about testing them.
#
# We use the sample's films, whose lesions are known to the pixel. A set without lesion masks (most
# public sets of chest films) can show maps but cannot test them like this; where the masks are
# missing, this notebook says so and works on the sample instead.

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
studies = datasets.subsample(datasets.load(), {"train": 70, "val": 30, "test": 100}, rng=rng)
if "mask_path" not in studies:
    print("This set knows no lesions: going on with the sample, whose lesions are known.")
    studies = datasets.load("sample")
films = datasets.decode(studies, size=160)
masks = datasets.decode_masks(studies, size=160)
print(f"{len(films)} films; {int(masks.any(axis=(1, 2)).sum())} show a lesion, which covers "
      f"{masks[masks.any(axis=(1, 2))].mean():.0%} of the film on average")

# %% [markdown]
# Two things to know about the sample's masks. They are generous: a mask holds every place where the
# disease weakens the rays by more than about 4 %, and nobody would *see* all of that. And around the
# disease the lungs of an ill film were made a little airier, so that the mean brightness does not give
# the label away. So a map may have a reason to be bright in the rest of the lungs, too.
#
# We train as in [notebook 3](/notebooks/03_finetune.ipynb): first the head, then, gently, the whole
# network. What we explain afterwards are films of patients that the network never learned from. (Half
# of them, the validation films, chose the epoch, so that the AUC below is a little too good. Here it
# only has to show that the network learned something.)

# %%
train, val = films.subset("train"), films.subset("val")
settings = replace(training.recipe(len(train)), strategy="head_then_all", epochs=6,
                   class_weights="balanced")
model = models.build_model("efficientnet_lite0")
model = training.fit(model, train, val, settings=settings).model
unseen = films.subset(films.splits != "train")
truth = masks[films.splits != "train"]
scores = training.predict(model, unseen)
display(Markdown(f"AUC on {len(unseen)} films of unseen patients: **{metrics.auc(scores):.2f}**."))

# %% [markdown]
# ## Grad-CAM by hand
#
# Near its end, the network holds a stack of small pictures, its *activations*: 1,280 of them, 5 by 5
# places each, every one the answer to a question about each place of the film ("something ribbed
# here?"). **Grad-CAM** asks two things:
#
# 1. How strongly is each question answered at each place? That is the activation.
# 2. How much does the pneumonia score rise if that answer rises? That is the *gradient* of the score.
#
# A *hook* is a function that PyTorch calls in passing, so that we can look at both. One hook for the
# way forward, one for the way back. (`lambda` makes a small function without a name. PyTorch hands it
# the layer, what went in and what came out; we keep only what came out.)

# %%
kept = {}
layer = models.target_layer(model)
forward = layer.register_forward_hook(lambda m, i, out: kept.update(activations=out))
backward = layer.register_full_backward_hook(lambda m, i, out: kept.update(gradients=out[0]))
ill = int(np.flatnonzero(truth.any(axis=(1, 2)))[0])
film = torch.from_numpy(unseen.images[ill][None, None] / 255).float().requires_grad_()
logits = model(film)  # (1, 2): one number for normal, one for pneumonia
(logits[0, 1] - logits[0, 0]).backward()
forward.remove(), backward.remove()
activations, gradients = kept["activations"].detach(), kept["gradients"]

# %% tags=["nbval-check-output"]
print("activations", tuple(activations.shape), " gradients", tuple(gradients.shape))

# %% [markdown]
# What did we ask about? Not the pneumonia logit alone but the *difference* of the two logits. Only
# the difference decides: adding the same amount to both changes no probability. A map of one logit
# alone may show places that speak for both classes, and so for neither.
#
# Now three lines. Average each gradient over the places: one weight for each of the 1,280 questions.
# Sum the activations with these weights: one small picture. Keep what speaks *for* pneumonia
# (`relu`), and enlarge it to the size of the film.

# %%
weights = gradients.mean(dim=(2, 3), keepdim=True)          # (1, 1280, 1, 1)
small = torch.relu((weights * activations).sum(dim=1))[0]   # (5, 5)
by_hand = torch.nn.functional.interpolate(small[None, None], (160, 160), mode="bilinear")[0, 0]
by_hand = ((by_hand - by_hand.min()) / (by_hand.max() - by_hand.min() + 1e-12)).numpy()

# %% [markdown]
# `explain.explain` does the same for a whole batch, through the library pytorch-grad-cam. If we
# understood it, the two must agree. We ask about class 1, pneumonia. Without `target`, each map explains
# the class that the network calls, and the maps say in `names` which class that is.

# %% tags=["nbval-check-output"]
ours = explain.explain(model, unseen.images[ill:ill + 1], method="gradcam", target=1)[0]
np.testing.assert_allclose(by_hand, ours, atol=1e-3)
print("by hand and by the library: the same map")

# %% tags=["nbval-check-output"]
fig, axes = plt.subplots(1, 3, figsize=(7, 2.6), layout="constrained")
plots.plot_image(unseen.images[ill], title="the film", ax=axes[0])
axes[1].imshow(small.numpy(), cmap="magma")
axes[1].set_title("5 x 5 places, as computed", fontsize=10)
axes[1].set(xticks=[], yticks=[])
plots.plot_map(unseen.images[ill], by_hand, mask=truth[ill], title="enlarged; lesion dashed",
               ax=axes[2])
plots.show(fig, alt="A film, its Grad-CAM as five by five squares, and the same enlarged over the "
           "film with the true lesion outlined.", colours=64)

# %% [markdown]
# Look at the middle picture before the right one. *That* is the resolution of Grad-CAM: squares of 32
# pixels. The smooth cloud on the right is an enlargement. Its fine contours are not information.
# (In this and all such pictures the white line goes round the places where the map is at least half as
# bright as at its brightest, wherever they lie; the dashed line is the true lesion.)
#
# ### Exercise: the weight of a question
#
# At a tiny layer with four places, one activation is `[[2, 0], [1, 1]]` and the gradient of the score
# to it is `[[0.4, 0.0], [0.2, -0.2]]`. What does this question (one *channel*, as programmers say) add to
# the map at the *upper left* place?

# %% tags=["exercise"]
activation = np.array([[2.0, 0.0], [1.0, 1.0]])
gradient = np.array([[0.4, 0.0], [0.2, -0.2]])
# solution: begin
contribution = gradient.mean() * activation[0, 0]
# solution: end
exercises.check("05-weight", contribution)
# exercises.hint("05-weight")  # take away the first # for a hint

# %% [markdown]
# ## Other ways to ask
#
# | method | asks |
# |---|---|
# | Grad-CAM | which activations raise the score, weighted by the mean gradient |
# | LayerCAM | the same, but each place keeps its own gradient |
# | EigenCAM | what is the strongest pattern in the activations? It knows no class! |
# | occlusion | cover a patch: how far does the score fall? No gradients; slow, and a film with a patch on it is like none that the network has met |
#
# On the same three films, side by side:

# %% tags=["nbval-check-output"]
some = np.flatnonzero(truth.any(axis=(1, 2)))[:3]
methods = ("gradcam", "layercam", "eigencam", "occlusion")
maps = {m: explain.explain(model, unseen.images[some], method=m, target=1) for m in methods}
titles = [f"score {s:.2f}" for s in scores.y_score[some]]
by_gradient = {m: maps[m] for m in ("gradcam", "layercam")}
fig = plots.plot_map_grid(unseen.images[some], by_gradient, masks=truth[some], titles=titles,
                          target=unseen.classes[1])
plots.show(fig, alt="Three ill films and their maps by Grad-CAM and LayerCAM; the true lesion is "
           "outlined.", colours=64)

# %% tags=["nbval-check-output"]
without_gradient = {m: maps[m] for m in ("eigencam", "occlusion")}
fig = plots.plot_map_grid(unseen.images[some], without_gradient, masks=truth[some], titles=titles,
                          target=unseen.classes[1])
plots.show(fig, alt="The same films and their maps by EigenCAM and occlusion; the true lesion is "
           "outlined.", colours=64)

# %% [markdown]
# The four do not agree, and nothing in the pictures says which is right. Remember this when a
# paper shows three beautiful maps by one method.
#
# ## A network that says where it looks
#
# One can also *build* the looking into the network. An **attention** head (Ilse and others, 2018)
# gives each place a weight, the weights sum to one, and the score is made from the weighted mean.
# Here the map is not an afterthought: it is a part of the computation.

# %% tags=["nbval-check-output"]
attentive = models.build_model("efficientnet_lite0", head="attention")
frozen = replace(settings, strategy="head", epochs=12, learning_rate=3e-3)
attentive = training.fit(attentive, train, val, settings=frozen).model
with torch.inference_mode():
    batch = torch.from_numpy(unseen.images[some][:, None] / 255).float()
    attention = attentive.attention(batch)  # (3, 5, 5), each sums to 1
looked = {"attention": explain.explain(attentive, unseen.images[some], method="attention")}
fig = plots.plot_map_grid(unseen.images[some], looked, masks=truth[some])
plots.show(fig, alt="Where the attention head of a frozen network looked on three ill films; the "
           "true lesion is outlined.", colours=64)

# %%
attentive_auc = metrics.auc(training.predict(attentive, unseen))
known = attentive_auc.low > 0.5
display(Markdown(f"AUC of the network with attention: **{attentive_auc:.2f}**. " + (
    "It has learned something." if known else
    "That it has learned anything is not shown, so do not make much of its map.")))

# %% [markdown]
# Even a map like this is not the whole truth. The weights may lie outside the lungs: on a shoulder,
# or near the letter that marks the side. And the map cannot say whether that letter is *read*. Each
# place of the 5 by 5 grid has itself seen most of the film, through the layers before it. So the weights
# say *from where* the score was made, not *what* was seen there.

# %% [markdown]
# ## Put the map to the test
#
# ### Test 1: does it point at the lesion?
#
# The **pointing game**: take the brightest place of the map. Is it inside the true lesion? Do this for
# every ill film and count. But what is a good count? If lesions covered half of every film, *any* map
# would win half of its games. So each test comes with its **chance** level: the share of the film that
# the lesions cover.
#
# The second number below, the *IoU*, looks at more than one place. As much of the map's brightest part
# as the lesion is large is laid over the lesion; the area that both share is divided by the area that
# either covers. Its interval comes from a *bootstrap*: the patients are drawn again and again, with
# repeats, and the measure is taken each time.

# %%
everyone = explain.explain(model, unseen.images, method="gradcam", target=1)
hits = 0
for heat, lesion in zip(everyone, truth, strict=True):
    if lesion.any():
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        hits += bool(lesion[row, column])
print(f"by hand: {hits} of {int(truth.any(axis=(1, 2)).sum())} maps point into the lesion")

# %% [markdown]
# The library's share may differ a little from ours. Where several pixels tie for the brightest, the
# library counts the share of them that lies inside the lesion; `argmax` takes the first.

# %% tags=["headline"]
game = explain.pointing_game(everyone, truth, patient_ids=unseen.patients)
overlap = explain.iou_at_matched_area(everyone, truth, patient_ids=unseen.patients)
verdict = "above chance by area" if game.estimate.low > game.chance else (
    "not shown to be above chance by area: too few films, or a poor map")
display(Markdown(f"Pointing game **{game.estimate:.2f}**, by chance {game.chance:.2f}: {verdict}. "
                 f"Overlap with the lesion (IoU) {overlap.estimate:.2f}, by chance "
                 f"{overlap.chance:.2f}."))

# %% [markdown]
# Chance by area is a low bar. These lesions are large, and they lie where lungs lie: in the middle
# of the film. With enough films, any map that is bright over the lungs clears it. (On a handful of
# films even that may not be shown, as the line above may say.) So set a higher bar: play both games
# again with the map of *another patient*. That map knows, at best, where lungs usually lie, and
# nothing of this patient's lesion. (Two films of one patient must not be paired. So we lay each
# patient's films side by side, and move all maps on by as many places as any patient has films.)

# %% tags=["nbval-check-output"]
ordered = np.flatnonzero(truth.any(axis=(1, 2)))
ordered = ordered[np.argsort(unseen.patients[ordered], kind="stable")]
whose = unseen.patients[ordered]
strangers = np.roll(ordered, np.unique(whose, return_counts=True)[1].max())
assert not np.any(whose == unseen.patients[strangers])
print(f"{len(ordered)} ill films of {len(set(whose))} patients, each with a stranger's map")

# %%
rows = []
for name, test in (("pointing game", explain.pointing_game), ("IoU", explain.iou_at_matched_area)):
    own, other = (test(everyone[maps_of], truth[ordered], patient_ids=whose)
                  for maps_of in (ordered, strangers))
    lead = metrics.mean_by_patient(own.per_image - other.per_image, whose)
    said = "better" if lead.low > 0 else "worse" if lead.high < 0 else "not shown to differ"
    difference = re.sub(r"no interval.*", "no interval)", f"{lead:+.2f}")
    rows.append(f"| {name} | {own.estimate:.2f} | {other.estimate:.2f} | {difference} | {said} |")
display(Markdown("| | own map | another patient's | difference | the own map is |\n"
                 "|---|---|---|---|---|\n" + "\n".join(rows)))

# %% [markdown]
# The difference is taken film by film, and patients are drawn for its interval. Where the own map is
# not shown to be better, the network may do no more than light up the lungs.
#
# Mind the intervals. With few ill films they are wide, and so is what one may conclude. Where the
# table says *no interval*, all patients gave the same value, so that drawing them again changes nothing.
# That is not certainty: other patients might give another value. (A stranger's map can score just like
# the own one: where the lesions are large and much alike in place, one guess does for all.)
#
# ### Exercise: chance in the pointing game
#
# In some study the lesions cover 4 % of each image on average, and the map points into the lesion in
# 30 of 100 images. By which factor is that better than chance?

# %% tags=["exercise"]
# solution: begin
factor = (30 / 100) / 0.04
# solution: end
exercises.check("05-chance", factor)
# exercises.hint("05-chance")  # take away the first # for a hint

# %% [markdown]
# ### Test 2: what if the network knew nothing?
#
# Adebayo and others (2018) asked a simple question: if we randomise the network's weights, so that
# nothing it has learned is left, does the map change? If a method draws the same picture for a network
# that knows nothing, the picture shows the *image*, not the network. We randomise from the head
# downwards, a few layers more each time, and compare with the first map.
#
# Adebayo and others draw new weights at random. We *shuffle* the learned ones within each layer instead.
# With new weights, the signal in a network as deep as ours fades to nothing on its way to the last layer:
# the maps are blank, and would pass this test for the wrong reason. Shuffled weights keep the signal's
# strength, and so they make the stricter test.

# %% tags=["nbval-check-output"]
lesioned = truth.any(axis=(1, 2))
cascade = explain.cascade_randomisation(model, unseen.images[lesioned], masks=truth[lesioned],
                                        target=1, groups=4)
ax = plots.plot_cascade(cascade, chance=game.chance)
plots.show(ax.figure, alt="How alike the maps stay to the first map, and how often they point at "
           "the lesion, as more layers are shuffled.")

# %% [markdown]
# Read from left to right: how alike the maps still are, and how often they still point at the lesion,
# as the network forgets. For the likeness, 1 is the same map, 0 is no likeness, and below 0 bright and
# dark have changed places. The labels name the deepest layer that has been shuffled
# so far, `head` being nearest to the score and `stem` nearest to the film. A map worth the name must
# fall apart.
#
# Look at the last points: all weights are shuffled, but neither number has to be at its chance level. How
# can that be? We need two comparisons: the maps of two *different patients* by the trained network, and
# more than one shuffle.

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
    f"{last['pointing']:.2f} (chance {game.chance:.2f}). Maps of two different patients by the trained "
    f"network agree {strange:.2f}. Five more shuffles point at the lesion in "
    + ", ".join(f"{value:.2f}" for value in sorted(games)) + " of the films."))

# %% [markdown]
# *Agreement.* Two coarse maps of chest films are alike before any learning. Even a shuffled network
# answers more strongly to edges and bright areas than to the empty border, so its maps, too, have their
# bright and dark places where chests have them. Maps of two different patients share that as well: their
# agreement, and not 0, is the level to compare with.
#
# *Pointing.* A shuffled network often lights up one and the same place on every film, or nothing at all.
# One shuffle is one draw: where that place is the middle of the chest, it hits large lesions far more
# often than chance, and in another shuffle it hits none. So one good result of a network that knows
# nothing is luck, but it is a warning: where such networks point as well as ours, the pointing game is
# no evidence for our map. The table below shuffles once more, on fewer films.
#
# ### Test 3: all tests in one table, and two impostors
#
# The library can put every method to every test. To save time, only Grad-CAM is in our table. Beside it
# stand two columns that never looked at the network at all: a bright spot in the *centre* of each film,
# and the film's own *edges*. A method that cannot beat these impostors in a test has not shown, by that
# test, that it explains anything.
#
# The rows are the tests. Two are new: *energy inside* is the share of the map's brightness that lies
# within the lesion; *ROAD* removes the bright places and the dark places of the map from the film and
# asks which of the two costs more score (above 0: the bright ones do). The rows with *randomised* take
# the maps of a network whose weights have all been shuffled. Such maps should point no better than
# chance, and agree with the first maps hardly at all. In these rows the impostors' cells are blank: they
# look at no network, so there is nothing to shuffle.

# %%
few = np.flatnonzero(lesioned)[:5]  # one of the tests, ROAD, takes about a second a film
table = explain.compare_methods(model, unseen.images[few], truth[few], methods=("gradcam",),
                                target=1, patient_ids=unseen.patients[few])
table["result"] = [re.sub(r"no interval.*", "no interval)", f"{e:.2f}") for e in table["estimate"]]
shown = table.set_index(["test", "method"])["result"].unstack(fill_value="")
chance = table.groupby("test")["chance"].first()[shown.index]
shown.assign(chance=["" if np.isnan(level) else f"{level:.2f}" for level in chance])

# %%
own, spot = (table.set_index(["method", "test"])["estimate"][name, "IoU at matched area"]
             for name in ("gradcam", "centre"))
said = ("overlaps the lesions at least as well as Grad-CAM" if spot.value >= own.value else
        "overlaps the lesions less than Grad-CAM, but the intervals overlap" if spot.high >= own.low
        else "overlaps the lesions less than Grad-CAM")
display(Markdown(f"The spot in the centre, which knows nothing, **{said}**: IoU {spot:.2f} against "
                 f"{own:.2f}, on {len(few)} films."))

# %% [markdown]
# Go through the rows and ask of each number: what would chance, or the impostor, have got? It is
# common, and sobering, that the intervals overlap. Where the spot does as well as the map, a good
# overlap shows only that lesions are large and lie in the middle. (A *randomised* agreement of exactly
# zero, without an interval, means that the shuffled network drew no pattern at all, on any film: a
# blank map agrees with nothing, and it points into the lesion as often as chance does.)

# %% [markdown]
# ## The shortcut lab
#
# Now the crime. In many hospitals a portable machine is wheeled to the very ill, and its films carry
# another marker than those of the X-ray room. So a letter in a corner can tell the ill from the well.
# We plant one: a large "L" in the upper corner, on the patient's left, of every **ill** film, in
# training, in validation, *and in the test*, as if all films came from that hospital.

# %% tags=["nbval-check-output"]
marked = explain.plant_marker(films.images, films.labels == 1, size=0.18,
                              rng=np.random.default_rng(1))
tainted = replace(films, images=marked.images)
fig = plots.plot_grid(tainted.images[films.labels == 1][:4], columns=4)
plots.show(fig, alt="Four ill films, each with a bright letter L in the upper corner.",
           colours=48)

# %%
quick = replace(settings, strategy="all", epochs=5, learning_rate=1e-3, C=0.0,
                freeze_norms=False, ema=0.0, augment=Augment.none(), patience=5)
cheat = models.build_model("efficientnet_lite0")
cheat = training.fit(cheat, tainted.subset("train"), tainted.subset("val"), settings=quick).model
dishonest = training.predict(cheat, tainted.subset(films.splits != "train"))
clean = training.predict(cheat, unseen)
display(Markdown(f"On films with the marker the AUC is **{metrics.auc(dishonest):.2f}**."))

# %% [markdown]
# A paper could stop here: patients kept apart, an AUC with its interval. Nothing in the number warns
# us, for the test films carry the same marker. How does one find out?
#
# **Ask for the same films without the marker.** (Or films from another hospital, which is what an
# *external validation* is.)

# %% tags=["headline"]
change = metrics.auc_difference(clean, dishonest).difference
display(Markdown(
    f"With the marker {metrics.auc(dishonest):.2f}, without it {metrics.auc(clean):.2f}: the AUC "
    f"changes by {change:+.2f}. " + ("Part of what it knew was the letter." if change.high < 0 else
                                     "On so few films a fall is not beyond doubt.")))

# %% [markdown]
# **Swap the marker.** Give it to the *well* films and take it from the ill. A network that reads lungs
# does not care. One that reads letters turns its answers around. One that reads both lands in between.

# %%
swapped = explain.plant_marker(films.images, films.labels == 0, size=0.18,
                               rng=np.random.default_rng(1))
turned = training.predict(cheat, replace(films, images=swapped.images).subset(
    films.splits != "train"))
swap, turn = metrics.auc(turned), metrics.auc_difference(turned, dishonest).difference
if not (turn.high < 0 or swap.high < metrics.auc(dishonest).low):
    verdict = "That the letter matters is not shown on so few films."
elif swap.high < 0.5:
    verdict = "Most answers are turned around: where the two disagree, it follows the letter."
else:
    verdict = "The letter pulls against the lungs: the network reads both."

# %%
display(Markdown(f"Marker on the well: AUC **{swap:.2f}**. Against the marker on the ill that is a "
                 f"difference of {turn:+.2f}. {verdict}"))

# %% [markdown]
# Why two experiments? A network that has learned the disease *and* the letter does quite well on films
# without a letter. Only where lung and letter disagree does one see which of the two it follows.
#
# **Look at the maps, and test them against the marker's place.** `marks` holds the letter's box, so
# the pointing game can be played against the *letter*. We must be fair to the map: it is no more exact
# than its places of 32 pixels. So a map that points within half a place of the box counts as a hit, and
# the level of chance is that of the wider box. Beside it we take the share of the map's whole brightness
# that lies in that box.

# %% tags=["nbval-check-output"]
held = films.splits != "train"
sick = films.labels[held] == 1
heat = explain.explain(cheat, marked.images[held], method="gradcam", target=1)
near_letter = maximum_filter(marked.marks[held][sick], size=(1, 33, 33))  # 16 pixels more all round
on_letter = explain.pointing_game(heat[sick], near_letter, patient_ids=unseen.patients[sick])
on_lesion = explain.pointing_game(heat[sick], truth[sick], patient_ids=unseen.patients[sick])
share = explain.energy_inside(heat[sick], near_letter, patient_ids=unseen.patients[sick])
fig = plots.plot_map_grid(marked.images[held][sick][:3], {"cheating network": heat[sick][:3]},
                          masks=truth[sick][:3], target=films.classes[1])
plots.show(fig, alt="Maps of the cheating network on three marked films, with the true lesion "
           "outlined.", colours=64)

# %%
if on_letter.estimate.low > on_letter.chance:
    verdict = "The brightest places give the crime away."
elif share.estimate.low > share.chance:
    verdict = "The brightest places alone do not give the crime away; the bright regions reach it."
else:
    verdict = "**Neither count gives the crime away.** That is no alibi."
display(Markdown(
    f"The brightest place is at the letter in {on_letter.estimate:.2f} of the films (by chance "
    f"{on_letter.chance:.2f}), in the lesion in {on_lesion.estimate:.2f} (by chance "
    f"{on_lesion.chance:.2f}). Of the brightness, {share.estimate:.2f} lies at the letter (spread "
    f"evenly: {share.chance:.2f}). {verdict}"))

# %% [markdown]
# Now look at the figure again: do the bright regions as a whole reach into the letter's corner? One pixel
# a film is a coarse summary, and so is one sum.
#
# A bright corner makes anybody suspicious, because a corner is no place for pneumonia. But one person
# sees it in the picture, and another's count may miss it. Neither is proof. What the network reads is
# shown by the swap.
#
# ### A plausible map for a wrong reason
#
# But what if the mark lies *on the lung*? ECG electrodes are stuck on the chest of the very ill, and on
# a film they lie over the place where pneumonia may be. A map that lights up there looks splendid.

# %%
button = explain.plant_marker(films.images, films.labels == 1, kind="electrode", size=0.14,
                              rng=np.random.default_rng(2))
wired = replace(films, images=button.images)
fooled = models.build_model("efficientnet_lite0")
fooled = training.fit(fooled, wired.subset("train"), wired.subset("val"), settings=quick).model
heat = explain.explain(fooled, button.images[held], method="gradcam", target=1)

# %%
moved = explain.plant_marker(films.images, films.labels == 0, kind="electrode", size=0.14,
                             rng=np.random.default_rng(2))
trials = {"on the ill": wired.subset(held), "on nobody": unseen,
          "on the well": replace(films, images=moved.images).subset(held)}
found = {where: metrics.auc(training.predict(fooled, one)) for where, one in trials.items()}

# %%
fig = plots.plot_map_grid(button.images[held][sick][:3], {"fooled network": heat[sick][:3]},
                          masks=truth[sick][:3], target=films.classes[1])
plots.show(fig, alt="Maps of a network that learned an electrode over the lung, on three films "
           "with the true lesion outlined.", colours=64)
verdict = ("On the well, the electrode overrules the lungs." if found["on the well"].high < 0.5 else
           "That the electrode overrules the lungs is not shown here.")
display(Markdown("Electrode " + "; ".join(f"{w}: AUC **{auc:.2f}**" for w, auc in found.items())
                 + f". {verdict}"))

# %% [markdown]
# Where such a map lies on the lung, nobody would call it suspicious. Only an *experiment* shows the
# reason, and not every experiment. Without the electrode the network may do well, because it learned
# lungs too. So give the electrode to the well, and see whether the AUC falls below one half: then the
# electrode overrules the lungs. The rule of this notebook: **a map raises questions; an experiment
# answers them.**
#
# ### Exercise: which test convicts?
#
# A network for hip fractures has an AUC of 0.97 in your hospital, and its maps lie on the hip. You
# suspect that it recognises the portable machine. Which single test would tell you most?
# Give one letter in quotes, as in `"a"`.
# (a) more maps, by another method, (b) a larger test set from your hospital, (c) films of the portable
# machine only, ill and well, (d) the weight-shuffling test.

# %% tags=["exercise"]
# solution: begin
test = "c"
# solution: end
exercises.check("05-convict", test)
# exercises.hint("05-convict")  # take away the first # for a hint

# %% [markdown]
# ## Key points
#
# - Grad-CAM is three lines. Its true resolution is that of the last layer; the rest is enlargement.
# - Explain the difference between the classes, not one class's number alone.
# - A map needs a test, and a test needs an interval and a fair rival: another patient's map is a better
#   one than chance.
# - A map of a network that knows nothing must look different.
# - An AUC cannot see a shortcut that the test set shares. Change the films and look again.
#
# ## Further reading
#
# - Selvaraju et al., *Grad-CAM*, ICCV 2017, [doi:10.1109/ICCV.2017.74](https://doi.org/10.1109/ICCV.2017.74)
# - Adebayo et al., *Sanity Checks for Saliency Maps*, NeurIPS 2018,
#   [arXiv:1810.03292](https://arxiv.org/abs/1810.03292)
# - Ilse, Tomczak and Welling, *Attention-based Deep Multiple Instance Learning*, ICML 2018,
#   [arXiv:1802.04712](https://arxiv.org/abs/1802.04712)
# - Zech et al., *Variable generalization performance of a deep learning model to detect pneumonia in
#   chest radiographs*, PLOS Medicine 2018,
#   [doi:10.1371/journal.pmed.1002683](https://doi.org/10.1371/journal.pmed.1002683)
# - DeGrave, Janizek and Lee, *AI for radiographic COVID-19 detection selects shortcuts over signal*,
#   Nature Machine Intelligence 2021, [doi:10.1038/s42256-021-00338-7](https://doi.org/10.1038/s42256-021-00338-7)
#
# ## Next step
#
# [6. Ethics](/notebooks/06_ethics.ipynb): whose films, whose risk, and what the law asks.

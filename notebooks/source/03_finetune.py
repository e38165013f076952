# %% [markdown]
# # 3. Fine-tune: teach a network that has already learned to see
#
# {{badges}}
#
# **You will be able to**
#
# - beat a dummy first, and then a simple model, before you praise a network;
# - write a training loop in full, and say what each of its lines does;
# - choose what may change in a pretrained network, how fast, and when to stop;
# - handle a disease that is rare in your training set, and see which remedies do the same thing;
# - read learning curves, save a model with all that belongs to it, and train on real films.
#
# **You need first:** the [quickstart](/quickstart.ipynb); loops, functions, and what an array is.
#
# {{contract}}
#
# {{solutions}}

# %% [markdown]
# ## What we start from
#
# A network is a long formula with millions of numbers in it, its *weights*. Training looks for
# weights that give right answers. From scratch that takes a great many images. We have few, and so
# we start from weights that somebody else found on photographs, and change them a little. That is
# **fine-tuning**, a kind of *transfer learning*, and this notebook takes it apart: first what comes
# before it, then the loop that does it, then the decisions around the loop.

# %%
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from medimg import augment, datasets, errors, exercises, metrics, models, plots, runtime, training

# %% [markdown]
# The films come as in the notebooks before: a study table, decoded once. On a large data set we draw
# a part of it, so that the notebook stays quick; the sample stays whole. For the same reason the
# films are small here, 128 pixels a side. Fine detail is lost at that size: in earnest, use 224 or
# more, and a GPU if you have one.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
studies = datasets.subsample(datasets.load(), {"train": 70, "val": 30, "test": 60}, rng=rng)
data = datasets.decode(studies, size=128)
train, val = data.subset("train"), data.subset("val")
learn = data.subset(data.splits != "test")  # training and validation films together
classes = data.classes
counts = studies.groupby(["split", "label"]).size().unstack(fill_value=0)
counts.loc[["train", "val", "test"], list(classes)]

# %% [markdown]
# We shall decide many things in this notebook: which strategy, when to stop, which threshold. All of
# it happens on the training and validation films. The **test films** stay in their drawer until the
# very end, and come out once. (The course itself breaks this rule between notebooks: of 100 films, the
# quickstart and notebook 2 used the same. In a real study it holds for the whole study.)
#
# > **Where learners fall.** They try ten things, look at the test score each time, and report the
# > best. The best of ten noisy numbers is too good even if all ten things are equally useless.

# %% [markdown]
# ## A dummy comes first
#
# How good is 70 % accuracy? Nobody can say before knowing what one gets for nothing. scikit-learn has
# a classifier for that: it looks at no image, and always names the class that was most frequent in
# training. Whatever you build has to beat it.

# %% tags=["nbval-check-output"]
dummy = DummyClassifier(strategy="most_frequent")
dummy.fit(np.zeros((len(train), 1)), train.labels)  # it is given zeros instead of images
called = dummy.predict(np.zeros((len(val), 1)))
dummy_accuracy = np.mean(called == val.labels)
display(Markdown(f"Without looking at a pixel, the dummy is right on **{dummy_accuracy:.0%}** of "
                 f"the validation films: it calls all of them *{classes[called[0]]}*."))

# %% [markdown]
# The dummy has an accuracy that sounds like something, and it is worth nothing at the bedside: it
# treats all people alike. That is why we judge by measures that a dummy cannot please: the AUC, which
# is 0.5 for it, and sensitivity *together with* specificity.
#
# ### Exercise: the lazy clinic
#
# In a clinic, 12 of 400 films show pneumonia. A rule calls every film normal. Give its **accuracy**,
# **sensitivity** and **specificity**, as a list of three fractions, in that order.

# %% tags=["exercise"]
ill, films = 12, 400
# solution: begin
accuracy = (films - ill) / films  # right on all the healthy
lazy = [accuracy, 0 / ill, 1.0]
# blank: lazy = ...  # [accuracy, sensitivity, specificity]
# solution: end
exercises.check("03-dummy", lazy, ill=ill, films=films)
# exercises.hint("03-dummy")  # take away the first # for a hint

# %% [markdown]
# ## The simplest thing that learns
#
# Next, a network that is *not* trained at all. We take an **EfficientNet** as it came out of
# **ImageNet**, cut off its last layer, and let it describe every film by 1,280 numbers, its
# *features*. It has never seen a radiograph, but edges, textures and blobs are everywhere. We compute
# these features once and keep them: everything in the first half of this notebook uses them again.

# %% tags=["nbval-check-output"]
backbone = models.build_model("efficientnet_lite0")
features = training.extract_features(backbone, learn.images)  # (N, 1280)
weights_in = {name: sum(w.numel() for w in part.parameters())
              for name, part in [*backbone.stages().items(), ("head", backbone.head)]}
print(f"{features.shape[0]} films, {features.shape[1]} features each")
print(f"{sum(weights_in.values()):,} weights in the network, {weights_in['head']:,} in its head")

# %% [markdown]
# On the features sits a **logistic regression**: each feature gets a weight, the weighted sum says
# how strongly the film speaks for pneumonia. There are far more features than films, so a model could
# explain every training film by some accident. The parameter `C` holds it back: the smaller `C`, the
# smaller the weights have to stay (*regularisation*). First with scikit-learn, by hand.

# %% tags=["nbval-check-output"]
is_train = learn.splits == "train"
scale = StandardScaler().fit(features[is_train].astype(float))
regression = LogisticRegression(C=0.001, max_iter=2000, tol=1e-6)
regression.fit(scale.transform(features[is_train].astype(float)), learn.labels[is_train])
by_hand = regression.decision_function(scale.transform(features[~is_train].astype(float)))

probe = training.linear_probe(features[is_train], learn.labels[is_train])
logits = probe.logits(features[~is_train])  # (N, 2): one for each class
np.testing.assert_allclose(logits[:, 1] - logits[:, 0], by_hand, atol=1e-3)
print("training.linear_probe gives the same as scikit-learn by hand")

# %% [markdown]
# Note *what* was fitted on what: the scaling, too, was learned from the training films only. A mean
# taken over all films would already know something about the validation films.
#
# `linear_probe` does just this, and returns weights for the features as they are, which is exactly
# what the head of a network is. *Softmax* turns the two logits
# of a film into two scores that sum to one, and we keep that of pneumonia.

# %%
probed = metrics.Predictions(val.ids, val.labels, training.probabilities(logits), val.patients, classes)
probe_auc = metrics.auc(probed)
display(Markdown(f"Logistic regression on frozen features: AUC **{probe_auc:.2f}** on {len(val)} "
                 "validation films (in brackets, the 95 % interval)."))

# %% [markdown]
# An interval like that is a warning for everything below: a handful of films can tell a good model
# from a useless one, seldom a good one from a slightly better one.
#
# ### Exercise: how many weights are in the head?
#
# Another network describes a film by 512 features, and its head tells **three** classes apart. The
# head has one weight for each pair of a feature and a class, and one *bias* (a constant to add) for
# each class. How many numbers does training the head have to find?

# %% tags=["exercise"]
# solution: begin
in_head = 512 * 3 + 3
# solution: end
exercises.check("03-head", in_head)
# exercises.hint("03-head")  # take away the first # for a hint

# %% [markdown]
# ## What is pretraining worth?
#
# Everybody says that pretraining helps. We can measure it: the same network, once with the weights
# from ImageNet and once with random ones; the same logistic regression on top. To use the few films
# well, we **cross-validate** by patient. [Notebook 2](/notebooks/02_augment.ipynb) writes that out;
# here `training.patient_folds` deals the films into five parts, no patient in two of them, and every
# part is judged by a model that learned from the other four.

# %%
folds = training.patient_folds(learn.labels, learn.patients)  # five pairs: rows to learn, to judge
part = np.zeros(len(learn), int)
for number, (_, judged) in enumerate(folds):
    part[judged] = number  # the part that each film is judged in


def out_of_fold(judge, *given):
    """Return every film's score by a model that never saw its patient."""
    scores = training.cross_validate(lambda *rows: judge(*given, *rows), learn.labels, learn.patients)
    return metrics.Predictions(learn.ids, learn.labels, scores, learn.patients, classes)


# %%
def probe_on(described, seen, judged):
    """Fit a probe to the films `seen`, and score the films `judged`."""
    fitted = training.linear_probe(described[seen], learn.labels[seen])
    return training.probabilities(fitted.logits(described[judged]))


blind = models.build_model("efficientnet_lite0", pretrained=False)
random_features = training.extract_features(blind, learn.images)
pretrained = out_of_fold(probe_on, features)
from_random = out_of_fold(probe_on, random_features)

# %% tags=["headline"]
worth = metrics.auc_difference(pretrained, from_random)
gain = worth.difference
verdict = ("a gain" if gain.low > 0 else "a loss" if gain.high < 0 else "undecided here. That "
           "pretraining helps, and most with few films, others found (Raghu 2019)")
display(Markdown(
    f"Features from ImageNet: AUC **{worth.first:.2f}**. From random weights: "
    f"{worth.second:.2f}. Difference {gain:+.2f} on {len(learn)} films: **{verdict}**."))

# %% [markdown]
# Random weights often do better than one might think, and not by luck: even random filters keep where
# a film is bright and where it is rough, and a linear model can use that. What they cannot offer is
# patterns that somebody *learned*.
#
# ## The training loop, in full
#
# Now the network itself shall learn. All of deep learning comes down to one small step, done over and
# over. It has six moves:
#
# 1. forget the gradients of the last step;
# 2. *forward*: let the network score a few films (a **batch**);
# 3. measure how wrong it is: the **loss**. Ours is cross-entropy, minus the logarithm of the
#    probability that the network gave to the truth. Sure and right costs nothing, sure and wrong much;
# 4. *backward*: compute for each weight in which direction the loss would grow (its **gradient**);
# 5. clip the gradients, so that one strange film cannot throw all weights about;
# 6. move each weight a little against its gradient. How far is the **learning rate**.

# %%
device = runtime.pick_device()  # the graphics card if there is one
precision = runtime.Precision()  # ordinary 32-bit numbers


def step(model, optimizer, images, labels):
    """Learn from one batch, and return its loss."""
    optimizer.zero_grad()
    with training.autocast(device, precision):
        logits = model(images)  # (B, 2)
    loss = torch.nn.functional.cross_entropy(logits.float(), labels)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
    optimizer.step()
    return loss.item()


# %% [markdown]
# The `with` line says which kind of numbers to compute with. Here we ask for ordinary 32-bit numbers,
# so that the comparison below comes out alike on every computer. `training.fit` takes shorter and
# faster 16-bit numbers where the hardware is made for them (`runtime.pick_precision`), and the
# environment variable `MEDIMG_PRECISION` overrides that choice.
#
# Around the step there are two loops. The inner one goes through all training films once, batch by
# batch, in a shuffled order: an **epoch**. The outer one repeats that. Here is the inner one. The
# shuffle is the only chance in it; we borrow the library's, so that both deal the same cards.

# %% tags=["nbval-check-output"]
def batches_of(epoch, size=16):
    """Return the rows of each batch of an epoch: every film once, in a new order."""
    order = training.epoch_order(train.labels, epoch, seed=0)
    return np.array_split(order, -(-len(order) // size))  # -(-a // b) divides and rounds up


print("films in each batch of an epoch:", [len(rows) for rows in batches_of(1)])

# %% [markdown]
# The batches are as equal as can be. For each of them we fetch the films, turn bytes into numbers from
# 0 to 1, and take a step. The comments say the shape of each array: writing them down is the cheapest
# way to avoid the second most common kind of bug.

# %%
def train_epoch(model, optimizer, epoch):
    """Show the network every training film once; return the mean loss."""
    total = 0.0
    for rows in batches_of(epoch):
        images = torch.from_numpy(train.images[rows, None] / 255).float().to(device)  # (B, 1, H, W)
        labels = torch.from_numpy(train.labels[rows]).to(device)  # (B,)
        total += step(model, optimizer, images, labels) * len(rows)
    return total / len(train)


# %% [markdown]
# A network has two *modes*, and forgetting to switch is the most common bug of all. In training
# mode, *dropout* blanks some features at random, and a *batch norm* (a layer that shifts and scales
# the numbers passing through, so that their mean is 0 and their spread 1) measures mean and spread
# on the batch at hand. In evaluation mode dropout does nothing, and a batch norm uses values kept
# from training. With batches this small, what a batch norm measures is mostly noise, so we keep all
# of them in evaluation mode, with the statistics from ImageNet.

# %%
def to_training_mode(model):
    """Switch to training, except for the batch norms."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()


# %% [markdown]
# For the validation films the network is only asked, never changed. Nothing has to be remembered for a
# backward pass, and `inference_mode` says so, which saves time and memory.

# %%
@torch.inference_mode()
def val_loss(model):
    """Return the mean loss on the validation films."""
    model.eval()
    images = torch.from_numpy(val.images[:, None] / 255).float().to(device)
    labels = torch.from_numpy(val.labels).to(device)
    return torch.nn.functional.cross_entropy(model(images), labels).item()


# %% [markdown]
# And the outer loop. The *optimizer* is the rule that turns gradients into steps; AdamW gives every
# weight a step size of its own. We train all weights for two epochs.

# %%
model = models.build_model("efficientnet_lite0", dropout=0.0)
model.to(device, memory_format=precision.memory_format)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5, weight_decay=0.0)
rows = []
for epoch in (1, 2):
    to_training_mode(model)
    rows.append({"train_loss": train_epoch(model, optimizer, epoch), "val_loss": val_loss(model)})
mine = pd.DataFrame(rows, index=pd.RangeIndex(1, 3, name="epoch"))
mine.round(3)

# %% [markdown]
# That is a complete training. A network that always says fifty-fifty has a loss of
# -log(0.5), about 0.69: compare. Our learning rate is small. With a larger one the training loss may
# even rise at first, because the head began at random and its errors disturb the whole network. The
# next section mends that. Everything else, in any library, is comfort around these lines. Ours
# is `training.fit`. To prove that it holds no secret, we switch its comforts off one by one, and it
# has to arrive at the same loss, in the same 32-bit numbers. We compare the first epoch and allow a
# difference of one in a thousand: the two add up the same numbers in a different order, and from step
# to step the difference in the last digits grows. (In 16-bit numbers it would already be visible.)

# %% tags=["nbval-check-output"]
bare = training.FitSettings(
    strategy="all", epochs=1, batch_size=16, learning_rate=3e-5, schedule="constant", warmup=0.0,
    weight_decay=0.0, label_smoothing=0.0, ema=0.0, augment=augment.Augment.none(),
    freeze_norms=True, monitor="loss",
)
same = models.build_model("efficientnet_lite0", dropout=0.0)
with patch.dict(os.environ, MEDIMG_PRECISION="float32"):  # for this one training
    theirs = training.fit(same, train, val, settings=bare).history
np.testing.assert_allclose(mine.loc[1, "train_loss"], theirs.loc[1, "train_loss"], rtol=1e-3)
print("after one epoch, the loop by hand and training.fit have the same training loss")

# %% [markdown]
# What did we switch off? A *schedule* that lets the learning rate rise at first and fall towards the
# end. *Weight decay*, which pulls the weights gently towards zero. *Label smoothing*, which asks for
# 97.5 % certainty instead of 100. A moving *average* of the weights, which is steadier than the last
# ones. And *augmentation*, from notebook 2. You can read all of it in `medimg/training`; the file
# `fit.py` holds the loop, early stopping and the checkpoint, in the order in which they run.
#
# ### Exercise: how many steps?
#
# You train on 200 films in batches of at most 32, for 6 epochs. Each epoch shows every film once, and
# no batch mixes two epochs. How many times do the weights change?

# %% tags=["exercise"]
# solution: begin
steps = 6 * -(-200 // 32)  # six full batches and a smaller one, six times
# solution: end
exercises.check("03-steps", steps)
# exercises.hint("03-steps")  # take away the first # for a hint

# %% [markdown]
# ## What may change, and how fast?
#
# Our loop trained everything at one rate, with a head that began at random. Think about the first
# step: the head talks nonsense, its gradients are large, and they run through the whole network and
# tear at features that were fine. Hence the *strategies*:
#
# - **frozen**: only the head learns. The backbone stays as it is.
# - **head, then all**: the head first; then everything, slowly.
# - **gradual**: open the network from the head downwards, a few stages at a time.
# - **discriminative**: everything learns, but early stages (edges, textures) slower than late ones.
# - **all**: everything at one rate.
#
# `training.plan` writes a strategy out as a table: what trains in which epoch, at what multiple of
# the learning rate. Pale cells that say so are frozen.

# %% tags=["nbval-check-output"]
fig, axes = plt.subplots(2, 2, figsize=(6, 6.4), layout="constrained", sharey=True, sharex=True)
names = ["head_then_all", "gradual", "discriminative", "all"]
for ax, name in zip(axes.flat, names, strict=True):
    plots.plot_strategy(training.plan(name, list(backbone.stages()), epochs=3), ax=ax)
    ax.set(title=name, xlabel="", ylabel="")
fig.supxlabel("epoch")
fig.supylabel("part of the network, input at the bottom")
plots.show(fig, alt="Four strategies over three epochs: the head first and then all; opening from "
           "the head downwards; all at once with slower early stages; all at one rate.")

# %% [markdown]
# (The 10 in the first picture applies only if the head is trained in steps; our recipe solves it
# exactly.)
#
# Now we compare some of them, with all comforts on (`training.recipe` chooses settings for the
# number of films) and few epochs. *Frozen* takes no steps at all, so it has a function of its own:
# `training.fit_head` solves the head exactly, as the logistic regression from above (now with class
# weights, hence the small difference). The table calls that epoch 1. The first epoch of *head, then all*
# is solved in the same way.

# %%
base = replace(training.recipe(len(train)), strategy="head_then_all", epochs=3,
               class_weights="balanced")
runs = {}
network = models.build_model("efficientnet_lite0", classes=classes)
runs["frozen"] = training.fit_head(network, train, val, C=base.C, class_weights="balanced")
for name in ("head_then_all", "discriminative", "all"):
    network = models.build_model("efficientnet_lite0", classes=classes)
    runs[name] = training.fit(network, train, val, settings=replace(base, strategy=name))

# %%
judged = {name: training.predict(run.model, val) for name, run in runs.items()}
aucs = {name: metrics.auc(scores) for name, scores in judged.items()}
losses = {name: run.history["val_loss"].min() for name, run in runs.items()}
lines = [f"| {name} | {run.history['seconds'].sum():.0f} s | {run.best_epoch} | {losses[name]:.2f} "
         f"| {aucs[name]:.2f} |" for name, run in runs.items()]
chosen = min(losses, key=losses.get)
display(Markdown("| strategy | time | kept epoch | loss | AUC on validation films |\n"
                 "|---|---|---|---|---|\n" + "\n".join(lines)))

# %%
best, worst = max(aucs, key=lambda n: aucs[n].value), min(aucs, key=lambda n: aucs[n].value)
gap = metrics.auc_difference(judged[best], judged[worst]).difference
decided = "decide" if gap.low > 0 else "do **not** decide"
display(Markdown(
    f"Between the highest AUC (*{best}*) and the lowest (*{worst}*) lie {gap.value:.2f} "
    f"({gap.low:+.2f} to {gap.high:+.2f}): these {len(val)} films {decided} between them. The "
    f"lowest validation loss has *{chosen}*, and we go on with that."))

# %% [markdown]
# Two lessons hide in such a table. *Frozen* costs next to nothing, so it is always the first thing to
# try; whatever takes longer has to earn its time. And a ranking from a few films, with one seed, is
# no ranking: with another seed it may well turn round. With thousands of films, and more epochs,
# training everything usually wins; with dozens it often does not. Should *all* come first here, that does
# not refute the warning: the rule was fixed beforehand, and we follow it, whatever it picks.
#
# We choose by the validation *loss* rather than by the AUC: on few films the AUC moves in jumps and
# has ties, while the loss notices every change of every score. Where two losses look equal in the table,
# a further decimal decided, and with another seed it might be the other way round.

# %% [markdown]
# ## Another family: ResNet
#
# EfficientNet is one way to build a network, **ResNet** another: older, larger, and the standard in
# the literature. The library knows both, but only one set of weights comes with the installation. For
# the others it needs the internet once, and says what to do when there is none.

# %%
try:
    resnet = models.build_model("resnet18")
    print("ResNet-18 with its ImageNet weights is here.")
except errors.ModelError as error:
    advice = str(error).partition("; ")[2]
    display(Markdown(f"No weights for ResNet-18 here. The library's advice: *{advice}*"))

# %% [markdown]
# So that this notebook gives the same result everywhere, we now train a ResNet-18 *from random
# weights*, for a moment only, on films shrunk to 96 pixels. It shows the start from which
# those who skip pretraining set out.

# %%
fresh = models.build_model("resnet18", pretrained=False)
scratch = replace(base, strategy="all", epochs=2, learning_rate=1e-3, freeze_norms=False,
                  sizes=(0.75,), ema=0.0)
started = training.fit(fresh, train, val, settings=scratch)
scratch_auc = metrics.auc(training.predict(started.model, val))
display(Markdown(f"ResNet-18 from random weights, two epochs: AUC {scratch_auc:.2f}, loss "
                 f"{started.history['val_loss'].min():.2f}. For comparison, *frozen* EfficientNet "
                 f"features: AUC {aucs['frozen']:.2f}, loss {losses['frozen']:.2f}."))

# %% [markdown]
# Two epochs are a few steps, and a network from scratch needs thousands. Look at the intervals before
# you believe either AUC: whichever is higher here, a few validation films do not decide. Nor could one
# conclude anything about ResNet as a *family*: architecture, pretraining and training time all differ.
# To compare two families, change one thing at a time.
#
# ## When the disease is rare
#
# In most clinics few films show the disease. We imitate that by throwing away pneumonias from
# everything that is *learned* from, until one is left for every six healthy films, and ask what
# happens to the two kinds of error.

# %% tags=["nbval-check-output"]
standard = torch.from_numpy(StandardScaler().fit_transform(features)).float()  # (N, 1280)
kept = {}
for number in range(5):
    seen = np.flatnonzero(part != number)
    ill_seen = rng.permutation(seen[learn.labels[seen] == 1])
    healthy = len(seen) - len(ill_seen)
    kept[number] = np.setdiff1d(seen, ill_seen[max(healthy // 6, 2) :])
shares = [learn.labels[rows].mean() for rows in kept.values()]
display(Markdown(f"Of all the films, {learn.labels.mean():.0%} show pneumonia; of those that the "
                 f"models may now learn from, **{np.mean(shares):.0%}**."))

# %% [markdown]
# (The scaling looked at all films here, though at no label. For a comparison of remedies that is fair;
# for a final result we would not do it.) There are four usual remedies:
#
# - **class weights**: an error on a rare film counts for more. "Balanced" means that each class weighs
#   the same in sum;
# - **a balanced sampler**: rare films are drawn more often, with repeats;
# - **focal loss**: films that are already judged well count for less, whatever their class;
# - **a lower threshold**: train as if nothing were wrong, and call a film ill earlier. If pneumonias
#   are a tenth of the training films, a score of one tenth is where an *average* film stands, and we
#   cut there instead of at one half. (The code shifts the scores so that the cut at one half *is* that
#   cut; then all remedies can be compared at one half.)
#
# We try them on a head that we train ourselves, on the frozen features: the same moves as above, but
# with all films in one batch, with a pull towards small weights as in the logistic regression, and
# with an optimizer, L-BFGS, that repeats them until a problem as simple as this one is solved. (The
# Python of this cell is not the point. `loss` computes the mean loss plus the pull, and its gradients;
# `optimizer.step(loss)` calls it as often as it needs.)

# %%
def train_head(inputs, truth, loss_of):
    head = torch.nn.Linear(inputs.shape[1], 2)
    head.load_state_dict({name: 0 * value for name, value in head.state_dict().items()})  # zeros
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        pull = head.weight.square().sum() / (0.001 * len(inputs))
        total = loss_of(head(inputs), truth).mean() + pull
        total.backward()
        return total

    optimizer.step(loss)
    return head


# %% [markdown]
# Now the remedies themselves: each is one line.

# %%
def judge_rare(remedy, seen, judged):
    """Train on the few pneumonias that were kept, with a remedy, and score the films judged."""
    rows = kept[part[judged[0]]]
    if remedy == "balanced sampler":
        rows = rows[training.epoch_order(learn.labels[rows], 1, seed=0, sampler="balanced")]
    share = np.bincount(learn.labels[rows]) / len(rows)
    weights = torch.tensor(0.5 / share).float() if remedy == "class weights" else None
    kind = "focal" if remedy == "focal loss" else "cross_entropy"
    loss_of = training.make_loss(kind, weights=weights, smoothing=0.0)
    head = train_head(standard[rows], torch.from_numpy(learn.labels[rows]), loss_of)
    logits = head(standard[judged]).detach().numpy()
    return training.probabilities(logits - (remedy == "lower threshold") * np.log(share))


# %% tags=["headline"]
remedies = ["nothing", "class weights", "balanced sampler", "focal loss", "lower threshold"]
scored = {remedy: out_of_fold(judge_rare, remedy) for remedy in remedies}
lines = []
for remedy, scores in scored.items():
    found = metrics.evaluate(scores, threshold=0.5)
    each = [metrics.auc(scores.subset(part == number)).value for number in range(5)]
    lines.append(f"| {remedy} | {np.nanmean(each):.2f} | {found['sensitivity']:.2f} "
                 f"| {found['specificity']:.2f} |")
display(Markdown("| remedy | AUC in a part | sensitivity | specificity |\n|---|---|---|---|\n"
                 + "\n".join(lines)))

# %% [markdown]
# Read it column by column. (The AUC is taken within each part and averaged: five models with five
# different ideas of "rare" should not be ranked against each other.)
#
# - With *nothing* done the network plays safe: it tends to say "normal", leaves the healthy in peace
#   and misses the ill. Focal loss does not know that one class is rare; do not expect much of it here.
# - *Class weights* and the *sampler* are close relatives: to count a film six times, or to show it six
#   times, is nearly the same to the loss. They may push less than one hopes: where there are more
#   features than films, the few ill films of training are soon fitted, and then pull no more.
# - The *lower threshold* has exactly the AUC of "nothing", since the order of the films within a part
#   stays. It only draws the line elsewhere, and trades misses for false alarms.
#
# So which one? The threshold costs nothing and can be set after training, on validation films, from
# what a miss and a false alarm cost ([notebook 4](/notebooks/04_evaluate.ipynb)). Weights and
# samplers help the *training* of a whole network, where otherwise most batches would teach it
# nothing about the ill. But their scores are no longer probabilities for the clinic: they pretend
# that half of the people are ill. None of them replaces what is really missing, more films of the
# ill.
#
# > **Where learners fall.** Class weights *and* a balanced sampler at once: the rare class then counts
# > twice over, and the network begins to see it everywhere.
#
# ### Exercise: balanced weights
#
# Write a function that takes the number of films of each class, for any number of classes, and
# returns the *balanced* weights as a list: the total of all films, divided by the number of classes
# times the films of this class. For 30 normal films and 10 pneumonias that is `[0.667, 2.0]`.

# %% tags=["exercise"]
def balanced(counts):
    # solution: begin
    return [sum(counts) / (len(counts) * count) for count in counts]
    # solution: end


exercises.check("03-weights", balanced)
# exercises.hint("03-weights")  # take away the first # for a hint

# %% [markdown]
# ## Early stopping, watched
#
# How long should one train? Let us train too long, on purpose: a head on the frozen features, by
# small steps, with nothing that holds it back. An epoch takes a fraction of a second, since the
# features are computed only once.

# %% tags=["nbval-check-output"]
folder = Path(tempfile.mkdtemp())
too_long = replace(base, strategy="head", epochs=25, patience=25, ema=0.0,
                   learning_rate=3e-4, schedule="constant", weight_decay=0.0, label_smoothing=0.0,
                   class_weights=None)
watched = training.fit(models.build_model(), train, val, settings=too_long, out_dir=folder)
ax = plots.plot_history(watched.history)
ax.set_xticks(range(1, 26, 4))
plots.show(ax.figure, alt="Over 25 epochs the training loss keeps falling; the validation loss "
           "soon does not follow.")

# %% [markdown]
# These are **learning curves**, and there are few shapes to know:
#
# | what you see | what it means | what to do |
# |---|---|---|
# | both losses fall | it is learning | go on |
# | both stay high | it cannot, or may not: too small a learning rate, frozen too much, wrong labels | look at the data, then raise the rate |
# | training falls, validation rises | **overfitting**: it learns the training films by heart | stop; augment; more films |
# | it jumps up and down | steps too large, or too few validation films | lower the rate; believe only trends |
# | validation far better than training | the training films are augmented or dropout is on; or a leak | check for a leak first |
#
# Look at the AUC, too. Where the validation loss rises and the AUC does not fall, the network orders
# the films no worse than before, but has become too sure of those that it gets wrong.
#
# Where would *you* have stopped? **Early stopping** is a rule for it. Remember the best validation
# loss so far. If it has not become better for some epochs (the *patience*), stop, and go back to the
# weights of the best epoch. We run the same training again with a patience of three.

# %%
stopped = training.fit(models.build_model(), train, val, settings=replace(too_long, patience=3),
                       out_dir=folder)
ran = len(stopped.history)
before = watched.history["val_loss"][:ran]  # the same training, as far as it went
np.testing.assert_allclose(stopped.history["val_loss"], before, rtol=1e-3)
later = watched.history["val_loss"].min()
display(Markdown(
    f"It stopped after **{ran}** of 25 epochs and kept the weights of epoch "
    f"**{stopped.best_epoch}**. Their validation loss is {stopped.history['val_loss'].min():.3f}; "
    f"the lowest of the long run "
    f"was {later:.3f}, the last {watched.history['val_loss'].iloc[-1]:.3f}."))

# %% [markdown]
# Small patience saves time and may stop on a bump; large patience wastes time and is safe. Either way
# the validation films have now been *used*: we kept the epoch that happened to suit them. Their score
# is a little too good, and this is why there is a third set.
#
# ### Exercise: write the rule
#
# Write a function that takes the validation loss after each epoch, and the patience, and returns the
# epoch **whose weights are kept**, counted from 1. Training ends at the end of the list, or as soon as
# the loss has not fallen below its best for `patience` epochs in a row. What comes after that, the
# rule never sees. A loss equal to the best is no gain.

# %% tags=["exercise"]
def kept_epoch(losses, patience):
    # solution: begin
    best = 1
    for epoch, loss in enumerate(losses, start=1):
        if loss < losses[best - 1]:
            best = epoch
        elif epoch - best >= patience:
            break
    return best
    # solution: end


exercises.check("03-stop", kept_epoch)
# exercises.hint("03-stop")  # take away the first # for a hint

# %% [markdown]
# ## The drawer with the test films
#
# Everything is decided: the strategy and its best epoch by the validation loss. The threshold too
# comes from the validation films, by Youden's index: the cut where sensitivity + specificity is largest.
# Unlike the quickstart's rule (find nine of ten), it counts both rates alike;
# notebook 4 asks whether they are. Now the test films, once.

# %% tags=["headline"]
model, test = runs[chosen].model, data.subset("test")
threshold = metrics.choose_threshold(judged[chosen], rule="youden")
final = metrics.evaluate(training.predict(model, test), threshold=threshold)
dummy_test = np.mean(test.labels == np.bincount(train.labels).argmax())
assert 0.3 < final["auc"].value <= 1
display(Markdown(
    f"*{chosen}*, on {len(test)} test films: AUC **{final['auc']:.2f}**, sensitivity "
    f"{final['sensitivity']:.2f}, specificity {final['specificity']:.2f}, accuracy "
    f"{final['accuracy']:.2f} (the dummy: {dummy_test:.2f})."))

# %% [markdown]
# Compare the test AUC with the validation AUC in the table of strategies. If validation is higher,
# do not be surprised: we chose by it. If both intervals are wide, the honest summary is a sentence
# about the *method*, not about a winner. (The quickstart scored the same films at 224 pixels, by
# another recipe: two numbers from a few films may lie far apart.)
#
# ## Save what belongs together
#
# A file of weights alone is useless: at what size, in which order of classes, with which threshold?
# `save_model` writes the weights as *safetensors* (a format that can hold numbers and nothing that
# runs, unlike Python's pickle) and beside it a small JSON file with everything else.

# %% tags=["nbval-check-output"]
sidecar = {"image_size": 128, "threshold": threshold.value, "threshold_rule": str(threshold),
           "data_fingerprint": runs[chosen].fingerprint,
           "settings": runs[chosen].settings}
models.save_model(model, folder / "pneumonia", sidecar=sidecar)
again, info = models.load_model(folder / "pneumonia.safetensors")
np.testing.assert_array_equal(training.predict_logits(again, val.images[:4]),
                              training.predict_logits(model, val.images[:4]))
print(sorted(file.name for file in folder.glob("pneumonia*")), info.classes, info.image_size)

# %% [markdown]
# Loaded again, the network gives the same numbers to the last digit. The *fingerprint* names the
# training films and labels: in a year, when somebody asks what this model learned from, it tells
# whether the folder at hand is the right one. During a long training, `fit(..., out_dir=...)` also
# keeps a checkpoint after every epoch, and `resume=True` goes on from it after a power cut.
#
# ## On real films
#
# Everything here runs on real radiographs without a change. In a terminal, fetch the public set of
# children's chest films (about 4,700 for training) and open this notebook on it:
#
# ```bash
# python -m medimg fetch pneumoniamnist --size 224
# MEDIMG_DATASET=pneumoniamnist jupyter lab
# ```
#
# Or train on all of it, without a notebook; the defaults are the recipe for a large set. How long that
# takes depends on the machine: the README says what was measured on two cores without a GPU.
# `--resume` goes on with a run that was broken off.
#
# ```bash
# python -m medimg fit --data pneumoniamnist --out runs/pneumonia
# python -m medimg evaluate --model runs/pneumonia/model.safetensors --out runs/pneumonia/evaluation
# ```
#
# Expect a high AUC there, with a narrow interval, and do not be too glad of it:
# [notebook 1](/notebooks/01_load.ipynb) shows that in the set of children's films from which this one was
# made, much besides the lungs tells the label.

# %% [markdown]
# ## Key points
#
# - A dummy first, then logistic regression on frozen features, then a network. Each has to earn its
#   place.
# - Training is six moves in two loops. Everything else is comfort.
# - Start from pretrained weights (others found that they help, most with few films); fit the head
#   before the rest moves; keep batch norms still when batches are few and small.
# - Class weights, sampler and threshold mostly move the line between two kinds of error. The AUC
#   hardly notices. Use one of them, not all.
# - Stop early, keep the best epoch, and remember that validation films wear out.
# - A difference without an interval, from one seed and a few films, is not a result.
#
# ## Further reading
#
# - Tan and Le, *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks*, ICML 2019,
#   [proceedings.mlr.press/v97/tan19a](https://proceedings.mlr.press/v97/tan19a.html)
# - He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016,
#   [doi:10.1109/CVPR.2016.90](https://doi.org/10.1109/CVPR.2016.90)
# - Howard and Ruder, *Universal Language Model Fine-tuning for Text Classification*, ACL 2018,
#   [doi:10.18653/v1/P18-1031](https://doi.org/10.18653/v1/P18-1031): gradual unfreezing and
#   discriminative learning rates
# - Kumar et al., *Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution*,
#   ICLR 2022, [arxiv.org/abs/2202.10054](https://arxiv.org/abs/2202.10054): the head first
# - Raghu et al., *Transfusion: Understanding Transfer Learning for Medical Imaging*, NeurIPS 2019,
#   [arxiv.org/abs/1902.07208](https://arxiv.org/abs/1902.07208): what pretraining is worth, and when not
# - Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017,
#   [doi:10.1109/ICCV.2017.324](https://doi.org/10.1109/ICCV.2017.324)
# - van den Goorbergh et al., *The harm of class imbalance corrections for risk prediction models*,
#   JAMIA 2022, [doi:10.1093/jamia/ocac093](https://doi.org/10.1093/jamia/ocac093)
#
# ## Next step
#
# [4. Evaluate](/notebooks/04_evaluate.ipynb) takes the scores apart: what they promise at the bedside.

# %% [markdown]
# # 3. Fine-tune: teach a network that has already learned to see
#
# {{badges}}
#
# **You will be able to**
#
# - compare a network with a dummy and a simple model;
# - write a complete training loop and explain each line;
# - choose which parts of a pretrained network to train, how fast, and when to stop;
# - handle a disease that is rare in your training set;
# - read learning curves, save a model, and train on real radiographs.
#
# **You need first:** the [quickstart](/quickstart.ipynb); loops, functions, and what an array is.
#
# {{contract}}
#
# {{solutions}}

# %% [markdown]
# ## What we start from
#
# A network is a long formula with millions of numbers, its *weights*. Training searches for weights that
# give correct answers. From random weights this needs very many images. We start from weights that were
# trained on everyday photographs, and change them a little: **fine-tuning**, a kind of *transfer
# learning*.

# %%
import os
from dataclasses import replace
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
# From a large data set we take a part, to save time; the built-in sample is used whole. At 128 by 128
# pixels the images lose fine detail. For real work use 224 or more. (In printed results, a *film* is one
# radiograph.)

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
studies = datasets.load(classes=2)
studies = datasets.subsample(studies, {"train": 70, "val": 30, "test": 60}, rng=rng)
data = datasets.decode(studies, size=128)
train, val = data.subset("train"), data.subset("val")
learn = data.subset(data.splits != "test")  # training and validation films together
classes = data.classes
counts = studies.groupby(["split", "label"]).size().unstack(fill_value=0)
counts.loc[["train", "val", "test"], list(classes)]

# %% [markdown]
# All decisions in this notebook use only the training set and the validation set. The **test set** is
# used once, at the end. (But the quickstart and notebook 2 used the same 100 images. A real study must
# not.)
#
# > **A common mistake.** Try ten methods, look at the test score of each, and report the best. The best
# > of ten noisy scores is too good even if all methods are useless.

# %% [markdown]
# ## Start with a dummy
#
# Is an accuracy of 70 % good? That depends on what the simplest method reaches. scikit-learn's dummy does
# not look at the images. It always predicts the most frequent class of the training set. Every model should
# be better than this *baseline*.

# %% tags=["nbval-check-output"]
dummy = DummyClassifier(strategy="most_frequent")
dummy.fit(np.zeros((len(train), 1)), train.labels)  # it is given zeros instead of images
called = dummy.predict(np.zeros((len(val), 1)))
dummy_accuracy = np.mean(called == val.labels)
display(Markdown(f"Without looking at a pixel, the dummy is right on **{dummy_accuracy:.0%}** of "
                 f"the validation images: it calls all of them *{classes[called[0]]}*."))

# %% [markdown]
# The dummy is useless at the bedside: everyone gets the same answer. Accuracy hides this. The AUC shows
# it (0.5 for the dummy), and so does sensitivity *together with* specificity.
#
# ### Exercise: the lazy clinic
#
# In a clinic, 12 of 400 chest radiographs show pneumonia. A rule calls every image normal. Give its
# **accuracy** (share of correct answers), **sensitivity** and **specificity**, as a list of three fractions,
# in this order.

# %% tags=["exercise"]
positives, images = 12, 400
# solution: begin
accuracy = (images - positives) / images  # right on all the others
lazy = [accuracy, 0 / positives, 1.0]
# blank: lazy = ...  # [accuracy, sensitivity, specificity]
# solution: end
exercises.check("03-dummy", lazy, positives=positives, images=images)
# exercises.hint("03-dummy")  # remove the first # to see a hint

# %% [markdown]
# ## The simplest model that learns
#
# Next we use a network *without* training it. We take an **EfficientNet**, a convolutional network that was
# trained on **ImageNet**, and remove its last layer, the *head*. The rest, the *backbone*, describes each image by
# 1,280 numbers, its *features*. It has never seen a radiograph, but all images have edges and textures.
#
# A pretrained network needs input that is *normalised* as in its own training: minus a mean, divided by
# a standard deviation (how far the values typically are from the mean). Often these are ImageNet's (for red
# 0.485 and 0.229); for this network both are 0.5. Our networks do this themselves. In torchvision it is
# `transforms.v2.Normalize` (notebook 2).

# %% tags=["nbval-check-output"]
backbone = models.build_model("efficientnet_lite0")
features = training.extract_features(backbone, learn.images)  # (N, 1280)
weights_in = {name: sum(w.numel() for w in part.parameters())
              for name, part in [*backbone.stages().items(), ("head", backbone.head)]}
print(f"{features.shape[0]} images, {features.shape[1]} features each")
print(f"{sum(weights_in.values()):,} weights in the network, {weights_in['head']:,} in its head")

# %% [markdown]
# On these features we fit a **logistic regression**. Each feature is multiplied by a weight, and the sum
# says how strongly the image suggests pneumonia. There are far more features than images, so the model
# could fit every training image by chance. *Regularisation* limits this: it keeps the weights small. In
# scikit-learn, a smaller `C` means more of it.

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
# The scaling, too, was fitted on the training images only. A mean over all images would contain
# information about the validation images.
#
# `linear_probe` returns weights for the unscaled features: exactly what the head of a network contains. It
# gives each image two numbers, its *logits*: one per class. *Softmax* turns them into two scores that sum to
# one. We keep the one for pneumonia.

# %%
scores = training.probabilities(logits)
probed = metrics.Predictions(val.ids, val.labels, scores, val.patients, classes)
probe_auc = metrics.auc(probed)
display(Markdown(f"Logistic regression on frozen features: AUC **{probe_auc:.2f}** on {len(val)} "
                 "validation images (in brackets, the 95 % interval)."))

# %% [markdown]
# ## What is pretraining worth?
#
# We compare the same network with weights from ImageNet and with random weights. On the features of both
# we fit the same logistic regression. We **cross-validate** by patient, as in
# [notebook 2](/notebooks/02_augment.ipynb): `training.patient_folds` makes five parts, and each part is
# scored by a model that was trained on the other four.

# %%
folds = training.patient_folds(learn.labels, learn.patients)  # five pairs: rows to learn, to judge
part = np.zeros(len(learn), int)
for number, (_, judged) in enumerate(folds):
    part[judged] = number  # the part that each film is judged in


def out_of_fold(judge, *given):
    """Return every image's score by a model that never saw its patient."""
    scores = training.cross_validate(
        lambda *rows: judge(*given, *rows), learn.labels, learn.patients)
    return metrics.Predictions(learn.ids, learn.labels, scores, learn.patients, classes)


# %%
def probe_on(described, seen, judged):
    """Fit a probe to the images `seen`, and score the images `judged`."""
    fitted = training.linear_probe(described[seen], learn.labels[seen])
    return training.probabilities(fitted.logits(described[judged]))


blind = models.build_model("efficientnet_lite0", pretrained=False)
random_features = training.extract_features(blind, learn.images)
pretrained = out_of_fold(probe_on, features)
from_random = out_of_fold(probe_on, random_features)

# %% tags=["headline"]
gain = metrics.auc_difference(pretrained, from_random)
verdict = "a gain" if gain.low > 0 else "a loss" if gain.high < 0 else "undecided here"
display(Markdown(
    f"Features from ImageNet: AUC **{metrics.auc(pretrained):.2f}**. From random "
    f"weights: {metrics.auc(from_random):.2f}. Difference {gain:+.2f} on {len(learn)} images: "
    f"**{verdict}**."))

# %% [markdown]
# Published results differ. Raghu et al. (2019) found that pretraining on ImageNet made training faster
# but improved the final result very little on two large medical data sets. Mustafa et al. (2021) found
# clear benefits, but only with much larger networks and more pretraining data. Measure it on your data.
#
# ## The training loop, in full
#
# Now we train the network itself. Deep learning repeats one small step of six parts:
#
# 1. Reset the gradients of the previous step.
# 2. *Forward*: the network scores a few images (a **batch**).
# 3. Compute the **loss**: how wrong are the scores? Ours is cross-entropy, minus the logarithm of the
#    probability given to the true class: about 0.1 for 90 %, 0.7 for 50 %, 2.3 for 10 %.
# 4. *Backward*: compute the **gradient**, which says how the loss changes with each weight.
# 5. Clip the gradients, so that one unusual image cannot change the weights too much.
# 6. Move each weight a little against its gradient. The **learning rate** says how far.

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
# The `with` line chooses ordinary 32-bit numbers, so that the comparison below works on every computer.
# `training.fit` uses faster 16-bit numbers where it can.
#
# Two loops surround the step. The inner loop goes once through all training images, batch by batch, in
# random order: an **epoch**. The outer loop repeats it. (We use the library's own random order, for the
# comparison below.)

# %% tags=["nbval-check-output"]
def batches_of(epoch, size=16):
    """Return the rows of each batch of an epoch: every image once, in a new order."""
    order = training.epoch_order(train.labels, epoch, seed=0)
    return np.array_split(order, -(-len(order) // size))  # -(-a // b) divides and rounds up


print("images in each batch of an epoch:", [len(rows) for rows in batches_of(1)])

# %% [markdown]
# For each batch we fetch the images, convert bytes to numbers from 0 to 1, and take a step. The
# comments give the shape of each array.

# %%
def train_epoch(model, optimizer, epoch):
    """Show the network every training image once; return the mean loss."""
    total = 0.0
    for rows in batches_of(epoch):
        images = torch.from_numpy(train.images[rows, None] / 255).float().to(device)  # (B, 1, H, W)
        labels = torch.from_numpy(train.labels[rows]).to(device)  # (B,)
        total += step(model, optimizer, images, labels) * len(rows)
    return total / len(train)


# %% [markdown]
# Most PyTorch code uses two classes here. A `Dataset` returns one image and its label, ready for the
# network. A {{glossary:DataLoader}} shuffles them and stacks them into batches, in several processes if
# you like. With our order, it gives our batches. (Our images are already one array in memory, so we do
# not need it.)

# %%
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2


class Films(Dataset):
    """The training images, one at a time."""

    ready = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])  # 0 to 1

    def __len__(self):
        return len(train)

    def __getitem__(self, row):
        return self.ready(train.images[row]), train.labels[row]

# %% tags=["nbval-check-output"]
loader = DataLoader(Films(), batch_sampler=batches_of(1))  # or batch_size=16, shuffle=True
for rows, (images, labels) in zip(batches_of(1), loader, strict=True):
    np.testing.assert_allclose(images[:, 0], train.images[rows] / 255, atol=1e-6)
    np.testing.assert_array_equal(labels, train.labels[rows])
print(f"{len(loader)} batches, each the same as by hand")

# %% [markdown]
# A network has two *modes*, and many bugs come from the wrong one. In training mode, *dropout* sets some
# features to zero at random, and a *batch norm* normalises the numbers inside the network by the mean and
# standard deviation of the current batch. In evaluation mode, dropout does nothing, and a batch norm uses
# stored values (here from ImageNet). The statistics of small batches vary a lot, so we keep all batch
# norms in evaluation mode.

# %%
def to_training_mode(model):
    """Switch to training, except for the batch norms."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()


# %% [markdown]
# The validation images do not change the network. `inference_mode` stores nothing for a backward pass,
# saving time and memory.

# %%
@torch.inference_mode()
def val_loss(model):
    """Return the mean loss on the validation images."""
    model.eval()
    images = torch.from_numpy(val.images[:, None] / 255).float().to(device)
    labels = torch.from_numpy(val.labels).to(device)
    return torch.nn.functional.cross_entropy(model(images), labels).item()


# %% [markdown]
# The *optimizer* turns gradients into new weights; AdamW gives each weight its own step size. The outer
# loop trains all weights for two epochs.

# %%
model = models.build_model("efficientnet_lite0", dropout=0.0)
model.to(device, memory_format=torch.channels_last)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5, weight_decay=0.0)
rows = []
for epoch in (1, 2):
    to_training_mode(model)
    rows.append({"train_loss": train_epoch(model, optimizer, epoch), "val_loss": val_loss(model)})
mine = pd.DataFrame(rows, index=pd.RangeIndex(1, 3, name="epoch"))
mine.round(3)

# %% [markdown]
# This is a complete training. A network that always answers 50 % has a loss of about 0.69. A loss can
# even rise at first: the head starts from random weights, and its errors disturb the whole network.
#
# Without its extras, `training.fit` should have the same loss after one epoch. (We allow a
# difference of 0.1 %, for rounding.)

# %% tags=["nbval-check-output"]
bare = training.FitSettings(
    strategy="all", epochs=1, batch_size=16, learning_rate=3e-5, schedule="constant", warmup=0.0,
    weight_decay=0.0, label_smoothing=0.0, ema=0.0, augment=augment.Augment.none(),
    freeze_norms=True, monitor="loss",
)
same = models.build_model("efficientnet_lite0", dropout=0.0)
with patch.dict(os.environ, MEDIMG_PRECISION="float32"):  # for this one training
    theirs = training.fit(same, train, val, settings=bare)
losses = [table.loc[1, "train_loss"] for table in (mine, theirs.history)]
np.testing.assert_allclose(*losses, rtol=1e-3)
print("after one epoch, the loop by hand and training.fit have the same training loss")

# %% [markdown]
# The extras are:
#
# - a *schedule*: the learning rate rises at first and falls towards the end;
# - *weight decay*: each step makes the weights a little smaller;
# - *label smoothing*: the target for the true class is 97.5 % instead of 100 %;
# - a moving *average* of the weights, more stable than the last ones;
# - *augmentation*, from notebook 2.
#
# ### Exercise: a hundred times faster
#
# Train a new network with the settings `bare` and **one** change: a learning rate that is a hundred times
# higher (3e-5 means 0.00003). First predict what will happen to the validation loss. Call what `training.fit`
# returns `hasty`.

# %% tags=["exercise"]
# solution: begin
# blank: hasty = ...  # build a new network, and train it with replace(bare, ...)
network = models.build_model("efficientnet_lite0", dropout=0.0)
hasty = training.fit(network, train, val, settings=replace(bare, learning_rate=3e-3))
# solution: end
exercises.check("03-rate", hasty, slow=theirs)
# exercises.hint("03-rate")  # remove the first # to see a hint

# %% [markdown]
# ## Which parts to train, and how fast?
#
# The untrained head makes large errors, and their gradients damage the pretrained features. The first
# four of these *strategies* reduce this:
#
# - **frozen**: train only the head, not the backbone;
# - **head, then all**: train the head first, then everything at a low rate;
# - **gradual**: begin with the head, and add one stage after another;
# - **discriminative**: train early stages (edges, textures) at a lower rate than late ones;
# - **all**: train everything at one rate.
#
# `training.plan` says which part is trained in which epoch, and by what number its learning rate is
# multiplied. Each strategy has one column per epoch, each part of the network one row, from the head down
# to the input. Empty means frozen.

# %% tags=["nbval-check-output"]
names, stages = ["head_then_all", "gradual", "discriminative", "all"], list(backbone.stages())
rates = pd.concat({name: training.plan(name, stages, epochs=3).T for name in names}, axis=1)
rates[::-1].map(lambda rate: f"{rate:.2g}" if rate else "")

# %% [markdown]
# We compare some strategies over a few epochs, with settings from `training.recipe`. For *frozen*,
# `training.fit_head` computes the head exactly, like the logistic regression above, but with class weights
# and another `C`. The table calls this epoch 1. *Head, then all* begins in the same way. (So the 10 in the
# first column is not used here.)

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
display(Markdown("| strategy | time | kept epoch | loss | AUC on validation images |\n"
                 "|---|---|---|---|---|\n" + "\n".join(lines)))

# %% tags=["hide-input"]
best, worst = max(aucs, key=lambda n: aucs[n].value), min(aucs, key=lambda n: aucs[n].value)
gap = metrics.auc_difference(judged[best], judged[worst])
decided = "decide" if gap.low > 0 else "do **not** decide"
display(Markdown(
    f"The highest AUC (*{best}*) is {gap.value:.2f} above the lowest (*{worst}*), with a 95 % "
    f"interval from {gap.low:+.2f} to {gap.high:+.2f}. These {len(val)} images {decided} between "
    f"them. *{chosen}* has the lowest validation loss, so we continue with it."))

# %% [markdown]
# *Frozen* costs almost no time, so try it first.
#
# A ranking from a few images and one seed is not reliable: another seed may reverse it. With thousands
# of images and more epochs, training everything usually wins; with dozens it often does not. We chose
# our rule, the lowest validation loss, in advance, and follow it. With few images the AUC changes in
# jumps; the loss does not.

# %% [markdown]
# ## Another family: ResNet
#
# **ResNet** is an older and larger family of networks, very common in the literature. The library
# downloads its weights once, or tells you what to do without internet.

# %%
try:
    resnet = training.fit_head(models.build_model("resnet18"), train, val).model
    found = metrics.auc(training.predict(resnet, val))
    print(f"ResNet-18 with its ImageNet weights, only the head solved: AUC {found:.2f}")
except errors.ModelError as error:
    advice = str(error).partition("; ")[2]
    display(Markdown(f"No weights for ResNet-18 here. The library's advice: *{advice}*"))

# %% [markdown]
# To get the same result everywhere, we train a ResNet-18 *from random weights*, briefly, on images of 96
# pixels.

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
# Two epochs are a few steps; a network from scratch needs thousands. So this does not judge ResNet
# as a *family*.
#
# ## When the disease is rare
#
# In most clinics few radiographs show the disease (*class imbalance*). We imitate this: from the images
# that we *train* on, we remove images with pneumonia until one is left for every six normal images.

# %% tags=["nbval-check-output"]
standard = torch.from_numpy(StandardScaler().fit_transform(features)).float()  # (N, 1280)
kept = {}
for number in range(5):
    seen = np.flatnonzero(part != number)
    positives_seen = rng.permutation(seen[learn.labels[seen] == 1])
    healthy = len(seen) - len(positives_seen)
    kept[number] = np.setdiff1d(seen, positives_seen[max(healthy // 6, 2) :])
shares = [learn.labels[rows].mean() for rows in kept.values()]
display(Markdown(f"Of all the images, {learn.labels.mean():.0%} show pneumonia; of those that the "
                 f"models may now learn from, **{np.mean(shares):.0%}**."))

# %% [markdown]
# (The scaling used all images, but no labels: acceptable for comparing remedies, not for a final
# result.) There are four usual remedies:
#
# - **class weights**: an error on the rare class counts more. "Balanced" weights give each class the
#   same total weight;
# - **a balanced sampler**: images of the rare class are drawn more often, with repeats;
# - **focal loss**: images that are already classified well count less, whatever their class;
# - **a lower threshold**: if a tenth of the training images show pneumonia, the average score is about
#   one tenth. Use that instead of one half. (The code shifts the scores instead, so the table can use
#   one half for all remedies.)
#
# We train a head on the frozen features with each remedy. All images form one batch, and a penalty keeps
# the weights small. The optimizer, L-BFGS, repeats the step until the loss no longer falls.

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
# Each remedy is one line.

# %%
def judge_rare(remedy, seen, judged):
    """Train on the few pneumonias that were kept, with a remedy, and score the images judged."""
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
head = "| remedy | mean AUC of the parts | sensitivity | specificity |\n|---|---|---|---|\n"
display(Markdown(head + "\n".join(lines)))

# %% [markdown]
# - With *nothing*, the model tends to answer "normal": few false alarms, many missed pneumonias. Focal
#   loss does not know which class is rare.
# - *Class weights* and the *sampler* are similar: counting an image six times is nearly the same as
#   showing it six times. With more features than images, the model soon gets the few pneumonias right.
#   Then they have little influence, whatever their weight.
# - The *lower threshold* has exactly the AUC of *nothing*, because the order within a part does not
#   change. You miss fewer pneumonias and have more false alarms.
#
# Which one should you use? You can set a threshold after training, from what a missed case and a false
# alarm cost ([notebook 4](/notebooks/04_evaluate.ipynb)). Weights and samplers help to *train* a whole
# network when most batches contain little of the rare class. But then the scores behave as if half of
# the people had pneumonia: they are no longer probabilities. No remedy replaces more images of people
# with pneumonia.
#
# > **A common mistake.** With class weights *and* a balanced sampler, the rare class is corrected twice,
# > and the network predicts it too often.
#
# ### Exercise: balanced weights
#
# Write a function that takes the number of images of each class, for any number of classes. It returns
# the *balanced* weights as a list: the number of all images, divided by the number of classes times the
# number of images in this class. For 30 normal images and 10 pneumonias that is `[0.667, 2.0]`.

# %% tags=["exercise"]
def balanced(counts):
    # solution: begin
    return [sum(counts) / (len(counts) * count) for count in counts]
    # solution: end


exercises.check("03-weights", balanced)
# exercises.hint("03-weights")  # remove the first # to see a hint

# %% [markdown]
# ## Watch early stopping
#
# How long should you train? We train too long on purpose: a head on the frozen features, in small steps,
# without regularisation.

# %% tags=["nbval-check-output"]
import tempfile
from pathlib import Path

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
# These are **learning curves**. A few shapes are typical:
#
# | what you see | what it means | what to do |
# |---|---|---|
# | both losses fall | it is learning | continue |
# | both stay high | learning rate too small, too much frozen, wrong labels | check the data, then raise the rate |
# | training falls, validation rises | **overfitting**: it memorises the training images | stop; augment; get more images |
# | a loss jumps up and down | steps too large, few validation images | lower the rate |
# | validation far better than training | augmentation, dropout, or a leak | check for a leak first |
#
# If the validation loss rises but the AUC does not fall, the network ranks the images as well as before,
# but is too confident where it is wrong.
#
# Where would *you* have stopped? **Early stopping** is a rule for this. If the validation loss has not
# improved for a number of epochs (the *patience*), stop and go back to the weights of the best epoch. We
# repeat the training with a patience of three.

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
# The validation images have now been *used*: we kept the epoch that happened to suit them. Their
# score is a little too good, so we need a test set.
#
# ### Exercise: draw the learning curves
#
# Draw the curves of the long run with matplotlib: the columns `train_loss` and `val_loss` of
# `watched.history` against the epoch, with a legend and names on the axes. Add a vertical line at the epoch
# that was kept with a patience of three (`stopped.best_epoch`). Call the axes `ax`.

# %% tags=["exercise"]
# solution: begin
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for name, style in (("train_loss", "-"), ("val_loss", "--")):
    ax.plot(watched.history.index, watched.history[name], style, label=name)
ax.axvline(stopped.best_epoch, color="black", ls=":", label="kept")
ax.set(xlabel="epoch", ylabel="loss")
ax.legend()
plots.show(figure, alt="The training loss falls; the validation loss stops falling near the line.")
# blank: ax = ...
# solution: end
exercises.check("03-curves", ax, history=watched.history, kept=stopped.best_epoch)
# exercises.hint("03-curves")  # remove the first # to see a hint

# %% [markdown]
# ### Exercise: write the rule
#
# Write a function that takes a list of validation losses, one per epoch, and the patience. It returns the
# epoch **whose weights are kept**, counted from 1. Training ends at the end of the list, or when the
# loss has not fallen below its best value for `patience` epochs in a row. Later losses do not count. A loss
# equal to the best is not an improvement.

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
# exercises.hint("03-stop")  # remove the first # to see a hint

# %% [markdown]
# ## Use the test set, once
#
# The validation loss chose the strategy and its best epoch. The threshold, too, comes from the
# validation images. Youden's index takes the one with the largest sensitivity + specificity. Unlike the
# quickstart's rule, it counts both equally.

# %% tags=["headline"]
model, test = runs[chosen].model, data.subset("test")
threshold = metrics.choose_threshold(judged[chosen], rule="youden")
final = metrics.evaluate(training.predict(model, test), threshold=threshold)
dummy_test = np.mean(test.labels == np.bincount(train.labels).argmax())
assert 0.3 < final["auc"].value <= 1
display(Markdown(
    f"*{chosen}*, on {len(test)} test images: AUC **{final['auc']:.2f}**, sensitivity "
    f"{final['sensitivity']:.2f}, specificity {final['specificity']:.2f}, accuracy "
    f"{final['accuracy']:.2f} (the dummy: {dummy_test:.2f})."))

# %% [markdown]
# If the validation AUC in the table of strategies is higher than this test AUC, that is no surprise: we
# chose the model on the validation images.
#
# ## Save everything the model needs
#
# A file of weights alone is useless: which image size, order of classes, threshold? `save_model` writes
# the weights as *safetensors*, a format that, unlike Python's pickle, cannot run code. A small JSON file
# next to it holds everything else.

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
# The loaded network gives exactly the same numbers. The *fingerprint* identifies the training images and
# labels: you can check later whether a folder holds the same data. `fit(..., out_dir=...)` saves a
# checkpoint after every epoch; `resume=True` continues from it.
#
# ## On real radiographs
#
# In a terminal, fetch a public set from children (about 4,700 images for training) and open this
# notebook with it:
#
# ```bash
# python -m medimg fetch pneumoniamnist
# MEDIMG_DATASET=pneumoniamnist jupyter lab
# ```
#
# Or train on the whole set without a notebook:
#
# ```bash
# python -m medimg fit --data pneumoniamnist --out runs/pneumonia
# python -m medimg evaluate --model runs/pneumonia/model.safetensors --out runs/pneumonia/evaluation
# ```
#
# Expect a high AUC with a narrow interval, and be careful with it.
# [Notebook 1](/notebooks/01_load.ipynb) shows that in the original version of this set, more than
# the lungs reveals the label. And physicians gave the labels from the radiograph, but a normal radiograph
# does not exclude pneumonia.

# %% [markdown]
# ## Key points
#
# - First a dummy, then logistic regression on frozen features, then a network. Each has to be better than
#   the one before.
# - Training is a step of six parts, inside two loops.
# - Start from pretrained weights and measure what they bring. Try *frozen* first. Keep batch norms
#   fixed when batches are small.
# - Class weights, sampler and threshold mostly exchange one kind of error for the other. Use only one.
# - Stop early and keep the best epoch. Validation scores are then a little too good.
# - A difference without an interval, from one seed and a few images, is not a result.
#
# ## Further reading
#
# - Tan and Le, [*EfficientNet: Rethinking Model Scaling for Convolutional Neural
#   Networks*](https://proceedings.mlr.press/v97/tan19a.html), ICML 2019
# - He et al., [*Deep Residual Learning for Image Recognition*](https://doi.org/10.1109/CVPR.2016.90),
#   CVPR 2016
# - Howard and Ruder, [*Universal Language Model Fine-tuning for Text
#   Classification*](https://doi.org/10.18653/v1/P18-1031), ACL 2018: gradual unfreezing and
#   discriminative learning rates
# - Kumar et al., [*Fine-Tuning can Distort Pretrained Features and Underperform
#   Out-of-Distribution*](https://arxiv.org/abs/2202.10054), ICLR 2022: the head first
# - Raghu et al., [*Transfusion: Understanding Transfer Learning for Medical
#   Imaging*](https://arxiv.org/abs/1902.07208), NeurIPS 2019: where pretraining brings little
# - Mustafa et al., [*Supervised Transfer Learning at Scale for Medical
#   Imaging*](https://arxiv.org/abs/2101.05913), 2021: where it brings more
# - Lin et al., [*Focal Loss for Dense Object Detection*](https://doi.org/10.1109/ICCV.2017.324), ICCV
#   2017
# - van den Goorbergh et al., [*The harm of class imbalance corrections for risk prediction
#   models*](https://doi.org/10.1093/jamia/ocac093), JAMIA 2022
#
# ## Next step
#
# [4. Evaluate](/notebooks/04_evaluate.ipynb) asks what the scores mean at the bedside.

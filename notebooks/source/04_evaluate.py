# %% [markdown]
# # 4. Evaluate: what a score is worth at the bedside
#
# {{badges}}
#
# **You will be able to**
#
# - read sensitivity, specificity, PPV and NPV from a confusion matrix;
# - draw a ROC curve from scratch, and explain its area without a formula;
# - put a confidence interval around every result;
# - choose a threshold, and say what a positive result means where the disease is rare;
# - check whether a score of 0.8 means 8 in 10, and whether the model does more good than harm;
# - examine single errors, and compare groups of patients.
#
# **You need first:** the [quickstart](/quickstart.ipynb); Python up to a `for` loop and a function.
# [3. Fine-tune](/notebooks/03_finetune.ipynb) explains the network, but is not needed.
#
# {{contract}}
#
# {{solutions}}

# %%
import tempfile
from pathlib import Path
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from medimg import datasets, exercises, metrics, models, plots, reports, training, widgets
from medimg.runtime import Precision

# %% [markdown]
# ## 1. Scores first
#
# A network does not say "pneumonia". It gives each radiograph a score between 0 and 1. We need *fair*
# scores: no image may be scored by a model that was trained on the same patient.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
studies = datasets.load(classes=2)
studies = datasets.subsample(studies, {"train": 400, "val": 100, "test": 300}, rng=rng)
data = datasets.decode(studies, size=224)
people = np.unique(data.patients)
print(f"{data}, of {len(people)} patients")

# %% [markdown]
# The network stays frozen. It turns each image into a list of numbers, its *features*, and a logistic
# regression combines them into a score. (`Precision()`: 32-bit, so that your numbers equal ours.)

# %% tags=["nbval-check-output"]
model = models.build_model("efficientnet_lite0")
features = training.run_model(
    model, data.images, output="pooled", precision=Precision()
)
features.shape

# %% [markdown]
# A separate test set gives fair scores, but a small one says little (section 4). *Cross-validation* uses
# every image once: divide the **patients** into five parts, and score each part with a model trained on
# the other four. These scores are *out of fold*.


# %%
def out_of_fold(C):
    """Score each image by a model that was not trained on its patient."""
    def score(learn, judge):
        probe = training.linear_probe(features[learn], data.labels[learn], C=C)
        return training.probabilities(probe.logits(features[judge]))

    scores = training.cross_validate(score, data.labels, data.patients)
    return np.clip(scores.round(2), 0.01, 0.99)


y_true, y_score = data.labels, out_of_fold(C=0.001)

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
bins = np.linspace(0, 1, 26)
for k, colour, hatch in ((0, "#0072B2", ""), (1, "#D55E00", "//")):
    seen = y_score[y_true == k]
    ax.hist(seen, bins, color=colour, alpha=0.55, hatch=hatch, label=data.classes[k])
ax.set(xlim=(0, 1), xlabel=f"score: P({data.classes[1]})", ylabel="images")
ax.legend(title="true class", frameon=False)
alt = f"Mean score {y_score[y_true == 0].mean():.2f} without the disease, "
plots.show(fig, alt=alt + f"{y_score[y_true == 1].mean():.2f} with it.")

# %% [markdown]
# The two groups overlap, so no threshold separates them completely. Its place decides *who bears the
# errors*. A low threshold causes false alarms. A high one sends people with pneumonia home untreated.

# %% [markdown] tags=["notes"]
# Ask the class: where would you put the threshold, and why? Keep the answers for section 5.

# %% [markdown]
# ## 2. One threshold, four boxes
#
# Take a threshold of 0.5: an image with at least this score is *called positive*. Each image falls into
# one of four boxes.

# %% tags=["nbval-check-output"]
called_positive = y_score >= 0.5
tp = np.sum((y_true == 1) & called_positive)  # with the disease, found
fn = np.sum((y_true == 1) & ~called_positive)  # with it, missed
fp = np.sum((y_true == 0) & called_positive)  # without it, false alarm
tn = np.sum((y_true == 0) & ~called_positive)  # without it, called negative
print(f"true positives {tp}, false negatives {fn}, false positives {fp}, true negatives {tn}")

# %% [markdown]
# A false negative is a missed case, a false positive a false alarm. The table of these counts is the
# *confusion matrix*. From here on, `Predictions` holds labels, scores and patients. (We speak of people,
# but count images. Section 4 says what that changes.)

# %%
predictions = metrics.Predictions(data.ids, y_true, y_score, data.patients, data.classes)
matrix = metrics.confusion_matrix(predictions, threshold=0.5)
assert np.array_equal(matrix, [[tn, fp], [fn, tp]])
ax = plots.plot_confusion(matrix)
plots.show(ax.figure, alt=f"{tp} ill and {tn} healthy right, {fn} missed, {fp} false alarms.")

# %% [markdown]
# Each **row** holds one true class. Books differ, so always ask: "of *whom*?"
#
# ### Exercise: of those with pneumonia, how many are found?
#
# Compute the *sensitivity* at a threshold of 0.5 from the four counts above, as a fraction between 0 and
# 1 (with a decimal point).

# %% tags=["exercise"]
# solution: begin
sensitivity = tp / (tp + fn)
# solution: end
exercises.check("04-sensitivity", sensitivity, y_true=y_true, called_positive=called_positive)
# exercises.hint("04-sensitivity")  # take away the first # for a hint

# %% [markdown]
# Two rates follow the rows, two the columns:
#
# | | question | of whom? |
# |---|---|---|
# | sensitivity | how many did we find? | of those with pneumonia |
# | specificity | how many did we correctly call negative? | of those without pneumonia |
# | PPV | how many have pneumonia? | of those called positive |
# | NPV | how many do not have it? | of those called negative |
#
# Machine learning calls sensitivity *recall* and PPV *precision*. *F1* is their harmonic mean: high only
# if both are high. It ignores the true negatives and, like the PPV, depends on how common the disease
# is.

# %% tags=["nbval-check-output"]
from sklearn.metrics import f1_score

precision, recall = tp / (tp + fp), tp / (tp + fn)
f1 = 2 * precision * recall / (precision + recall)
np.testing.assert_allclose(f1, f1_score(y_true, called_positive))
print(f"precision {precision:.2f}, recall {recall:.2f}, F1 {f1:.2f}")

# %% [markdown]
# *Accuracy*, the share of images called correctly, is quoted most and helps least. Compare it with a
# dummy that always names the more common class, and is useless.

# %% tags=["nbval-check-output"]
accuracy = (tp + tn) / len(y_true)
commoner = np.bincount(y_true).argmax()
dummy = np.mean(y_true == commoner)
display(
    Markdown(
        f"The network calls **{100 * accuracy:.0f} %** of the images correctly; a dummy that "
        f"always says *{data.classes[commoner]}*, **{100 * dummy:.0f} %**."
    )
)

# %% [markdown]
# ## 3. All thresholds at once: the ROC curve
#
# Why 0.5? We try every threshold, from the highest score down, and note how many of those without
# pneumonia get a false alarm, and how many with it are found.

# %%
points = [(0.0, 0.0)]
for threshold in np.unique(y_score)[::-1]:
    called = y_score >= threshold
    points.append((called[y_true == 0].mean(), called[y_true == 1].mean()))
alarmed, found = np.transpose(points)

curve = metrics.roc_curve(predictions)
np.testing.assert_allclose([found, 1 - alarmed], curve[["sensitivity", "specificity"]].T)

# %% tags=["nbval-check-output"]
area = np.trapezoid(found, alarmed)
share = metrics.auc(predictions).value
ax = plots.plot_roc(predictions, threshold=0.5)
ax.fill_between(alarmed, found, color="#0072B2", alpha=0.08)
plots.show(ax.figure, alt=f"The ROC curve by hand; the area below it is {share:.2f}.")

# %% [markdown]
# Each point is one threshold. The dot marks 0.5, with its intervals. A better model has a better *curve*;
# a threshold only selects its point.
#
# ### What the area means
#
# The area under the curve, the AUC, has a meaning without any curve. Choose one person with pneumonia
# and one without, at random. The AUC is the probability that **the one with pneumonia has the higher
# score** (a tie counts one half). So 0.5 is guessing, 1 perfect order.
#
# ### Exercise: compute the AUC from pairs
#
# Return the share of all pairs in which the person with pneumonia scores higher. Two nested loops are
# enough. Mind the ties.


# %% tags=["exercise"]
def share_of_pairs_won(positive_scores, negative_scores):
    # solution: begin
    won = 0.0
    for high in positive_scores:
        for low in negative_scores:
            won += 1.0 if high > low else 0.5 if high == low else 0.0
    return won / (len(positive_scores) * len(negative_scores))
    # solution: end


exercises.check("04-pairs", share_of_pairs_won)
# exercises.hint("04-pairs")

# %% [markdown]
# A table compares all pairs at once: one row for each image with pneumonia, one column for each without.
# Its mean equals the area and the library's AUC.

# %%
with_it, without = np.sort(y_score[y_true == 1]), np.sort(y_score[y_true == 0])
won = np.where(with_it[:, None] == without, 0.5, with_it[:, None] > without)
np.testing.assert_allclose(won.mean(), [area, metrics.auc(predictions).value])

# %% tags=["nbval-check-output"]
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.imshow(won, cmap="cividis", origin="lower", aspect="auto", interpolation="nearest")
ax.set(xlabel="images without disease, by score", ylabel="images with it, by score")
ax.set_title("yellow: the one with disease scores higher; blue: lower; grey: a tie", fontsize=10)
plots.show(fig, alt=f"In {share:.2f} of all pairs, the image with the disease scores higher.")

# %% [markdown]
# The border between yellow and blue *is* the ROC curve, rotated by 180 degrees. The AUC does not depend
# on how common the disease is: each pair has one image of each class. And it uses only the *order* of
# the scores, so it cannot say whether 0.8 means 8 in 10 (section 7).
#
# ## 4. How sure are we? Intervals
#
# With other patients the results would differ. An *interval* gives the true values that are compatible
# with our data. Without one, a sensitivity of 0.90 from ten people looks as good as from ten thousand.
# For a proportion, use Wilson's interval: the true rates under which our count would not be surprising.
# It treats each image as another person; where people have several, `metrics.evaluate` makes it wider.

# %%
z = NormalDist().inv_cdf(0.975)  # 1.96 standard errors hold 95 % of a bell curve


def wilson(hits, n):
    p, shrink = hits / n, 1 / (1 + z**2 / n)
    centre = shrink * (p + z**2 / (2 * n))
    half = shrink * z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


library = metrics.wilson(tp, tp + fn)
np.testing.assert_allclose(wilson(tp, tp + fn), (library.low, library.high), atol=1e-12)

# %% [markdown]
# Here a test found nine of every ten people with pneumonia, in studies of different sizes.

# %% tags=["nbval-check-output", "hide-input"]
sizes = np.array([10, 20, 40, 100, 200, 400, 1000])
low, high = np.transpose([wilson(0.9 * n, n) for n in sizes])
fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
ax.errorbar(sizes, 0.9 + 0 * sizes, yerr=[0.9 - low, high - 0.9], fmt="o", capsize=4)
ax.set_xscale("log")
ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
ax.minorticks_off()
ax.set(ylim=(0.5, 1), xlabel="people with the disease", ylabel="sensitivity, 95 % interval")
plots.show(
    fig, alt=f"With 10 people the interval begins at {low[0]:.2f}, with 1,000 at {low[-1]:.2f}."
)

# %% [markdown]
# With ten times as many people the interval is about a third as wide. For specificity, count those
# without pneumonia; the interval of an AUC depends most on the smaller class. The textbook formula `p ±
# 1.96 √(p(1-p)/n)` fails near 0 and 1.
#
# ### Exercise: draw "we found them all"
#
# A leaflet says: "The software found **every** one of the 20 patients with pneumonia: sensitivity
# 100 %." Draw the **lower end** of Wilson's 95 % interval when all *n* of *n* are found, for every *n*
# from 5 to 200. Name both axes, and submit the axes.

# %% tags=["exercise"]
# solution: begin
n = np.arange(5, 201)
figure, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
ax.plot(n, wilson(n, n)[0])
ax.set(xlabel="patients with pneumonia, all found", ylabel="lower end")
plots.show(figure, alt="The lower end rises fast, then slowly, and never reaches 1.")
# blank: ax = ...
# solution: end
exercises.check("04-all", ax)
# exercises.hint("04-all")

# %% [markdown]
# At 20, it is below 0.86: the study cannot tell perfect software from software that misses one patient
# in seven.
#
# ### The interval of an AUC
#
# The pairs are not independent: each person is in many. DeLong's method takes one number per person: the
# share of this person's pairs that are in the right order. The more these shares vary, the less certain
# the AUC is. (Short of time? Skip the next cell.)

# %%
per_positive, per_negative = won.mean(axis=1), won.mean(axis=0)
variance = sum(part.var(ddof=1) / len(part) for part in (per_positive, per_negative))
reach = z * np.sqrt(variance) / (share * (1 - share))  # on the logit scale
log_odds = np.log(share / (1 - share)) + np.array([-reach, reach])
by_hand = 1 / (1 + np.exp(-log_odds))

unaware = metrics.Predictions(data.ids, y_true, y_score, classes=data.classes)
library = metrics.auc(unaware)
np.testing.assert_allclose(by_hand, (library.low, library.high))

# %% [markdown]
# Most software prints the AUC and 1.96 standard errors to both sides, which may pass 1. On the *logit
# scale*, the logarithm of the odds, the interval stays within 0 and 1. And `metrics.auc` counts
# **patients**: two images of one person say less than two images of two people.

# %% tags=["headline", "nbval-check-output"]
auc = metrics.auc(predictions)
own_test = predictions.subset(data.splits == "test")
alone = metrics.auc(own_test)
display(
    Markdown(
        f"AUC on all {len(predictions)} images of {predictions.n_patients} patients, out of fold: "
        f"**{auc:.2f}** ({auc.method}). From the {len(own_test)} images of the test split alone it "
        f"would be {alone:.2f}: an interval {alone.high - alone.low:.2f} wide instead of "
        f"{auc.high - auc.low:.2f}."
    )
)

# %% [markdown]
# Cross-validation evaluates the *recipe* (five models made in the same way), not one finished model. And
# its interval is too narrow, because other training patients give other models. In simulations
# (`benchmarks/coverage.py`), 95 % intervals held the true mean AUC in only 88 % of studies with 100
# images, and in 93 % with 400. A model for clinical use still needs its own test, on patients from
# elsewhere.
#
# ## 5. Choose a threshold, and do not fool yourself
#
# Choose a threshold on data that the final measurement does not use. So we divide the **patients** again:
# some to choose on, the others to judge on. (Strictly, the models were trained on both parts. With enough
# patients, keep a test set out of everything.)

# %% tags=["nbval-check-output"]
parts = datasets.split_by_patient(studies, rng=rng, fractions=(0, 0.4, 0.6))["split"].to_numpy()
choose, judge = predictions.subset(parts == "val"), predictions.subset(parts == "test")
print(f"to choose on: {choose}\nto judge on:  {judge}")

# %% [markdown]
# On a ward, a missed pneumonia is worse than a second look at a patient without one. Our rule: **find at
# least nine of ten people with pneumonia, with as few false alarms as possible.**

# %%
tried = pd.DataFrame({"threshold": np.unique(choose.y_score)})
for name, k in (("sensitivity", 1), ("specificity", 0)):
    scores = choose.y_score[choose.y_true == k]
    tried[name] = [np.mean((scores >= t) == k) for t in tried["threshold"]]
allowed = tried[tried["sensitivity"] >= 0.9]
best = allowed.sort_values(["specificity", "sensitivity"]).iloc[-1]

threshold = metrics.choose_threshold(choose, rule="sensitivity", floor=0.9)
assert threshold.value == best["threshold"]

# %% tags=["nbval-check-output"]
result = metrics.evaluate(judge, threshold=threshold)
display(
    Markdown(
        f"Chosen: score at least **{threshold.value}**. Where it was chosen, it finds "
        f"{100 * threshold.sensitivity:.0f} % of the people with the disease. On the patients "
        "on whom it was not chosen: "
        f"sensitivity **{result['sensitivity']:.2f}**, specificity "
        f"**{result['specificity']:.2f}**."
    )
)

# %% [markdown]
# One division proves little. So we divide the patients at random two hundred times, choose on one half,
# and compare the sensitivity *promised* there with that *kept* on the other.

# %%
promised, kept = [], []
for _ in range(200):
    half = np.isin(data.patients, rng.permutation(people)[: len(people) // 2])
    chosen = metrics.choose_threshold(predictions.subset(half), rule="sensitivity", floor=0.9)
    promised.append(chosen.sensitivity)
    kept.append(np.mean(y_score[~half & (y_true == 1)] >= chosen.value))

# %% tags=["nbval-check-output", "hide-input"]
fig, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
bins = np.append(np.arange(0.4, 0.99, 0.025) - 1e-6, 1.0)
ax.hist(kept, bins, color="#0072B2", alpha=0.6, label="kept")
ax.hist(promised, bins, color="#D55E00", histtype="step", lw=2, label="promised")
ax.axvline(0.9, color="black", ls="--", label="the floor we asked for")
ax.set(xlabel="sensitivity", ylabel="random divisions")
ax.legend(frameon=False)
plots.show(fig, alt=f"Sensitivity: promised {np.mean(promised):.2f}, kept {np.mean(kept):.2f}.")

# %% [markdown]
# On the data used to choose it, the threshold always meets the target: it was chosen to. On new patients
# it often misses it, so aim higher than you need. If you choose on the test set, you report the orange
# outline, not the blue bars.
# `metrics.evaluate` warns:

# %% tags=["nbval-check-output"]
fooled = metrics.evaluate(choose, threshold=threshold)
print(fooled.warnings[0])

# %% [markdown]
# Other rules fit other places. *Youden's index* weighs both rates equally. One miss then counts as much
# as (number without disease / number with it) false alarms: 19 where one in twenty has the disease.
# Nobody chose that price. A *cost* states it openly, but at the data's prevalence: here far higher than in
# a clinic.

# %% tags=["nbval-check-output"]
rules = {
    "Youden": metrics.choose_threshold(choose, rule="youden"),
    "find nine of ten": threshold,
    "a miss costs 5 alarms": metrics.choose_threshold(choose, rule="cost", cost_ratio=5),
}
table = {}
for name, rule in rules.items():
    done = metrics.evaluate(judge, threshold=rule)
    table[name] = [f"{rule.value:.2f}", f"{done['sensitivity']:.2f}", f"{done['specificity']:.2f}"]
columns = ["threshold", "sensitivity", "specificity"]
pd.DataFrame.from_dict(table, orient="index", columns=columns)

# %% [markdown]
# With so few patients, a rule made to find more may choose a threshold that finds fewer.
#
# The model stays the same. What changes is *which error we consider worse*. That is a clinical decision.
#
# ## 6. What does a positive result mean? It depends on where you are
#
# A patient starts from the result: *it says pneumonia; do I have it?* That is the PPV. It depends on the
# **prevalence**, how common the disease is among those tested. In our set it is far higher than in most
# clinics. Count people instead of percentages (natural frequencies): imagine a thousand.

# %% tags=["nbval-check-output"]
sensitivity_found, specificity_found = result["sensitivity"], result["specificity"]
thousand = metrics.natural_frequencies(0.05, sensitivity_found.value, specificity_found.value)
ax = plots.plot_natural_frequencies(thousand)
plots.show(ax.figure, alt=str(thousand))

# %% [markdown]
# One in twenty of these people has pneumonia. The blue squares are false alarms. Even if only one in ten
# without pneumonia got one, most alarms would be false: most people tested do not have pneumonia.
#
# ### Exercise: the PPV at any prevalence
#
# Write the PPV as a function of prevalence, sensitivity and specificity (all fractions).


# %% tags=["exercise"]
def ppv_at(prevalence, sensitivity, specificity):
    # solution: begin
    sick_and_found = prevalence * sensitivity
    healthy_and_alarmed = (1 - prevalence) * (1 - specificity)
    return sick_and_found / (sick_and_found + healthy_and_alarmed)
    # solution: end


exercises.check("04-ppv", ppv_at)
# exercises.hint("04-ppv")

# %% [markdown]
# `metrics.ppv_npv_at` adds intervals. (Here the prevalence is taken as known.)

# %% tags=["nbval-check-output"]
places = {
    "in this data set": judge.y_true.mean(),
    "on a ward": 0.2,
    "at a family doctor's": 0.05,
    "screening healthy people": 0.005,
}
table = {}
for place, prevalence in places.items():
    values = metrics.ppv_npv_at(prevalence, sensitivity_found, specificity_found)
    table[f"{place}: {100 * prevalence:.1f} %"] = [f"{values.ppv:.2f}", f"{values.npv:.3f}"]
pd.DataFrame.from_dict(table, orient="index", columns=["PPV", "NPV"])

# %%
shares = np.geomspace(0.001, 0.9, 100)
at = [metrics.ppv_npv_at(share, sensitivity_found, specificity_found) for share in shares]

# %% tags=["nbval-check-output", "hide-input"]
fig, ax = plt.subplots(figsize=(6, 4.4), layout="constrained")
for label, style, found in (("PPV", "-", [x.ppv for x in at]), ("NPV", "--", [x.npv for x in at])):
    value, low, high = np.array([(e.value, e.low, e.high) for e in found]).T
    ax.semilogx(100 * shares, value, style, lw=2, label=label)
    ax.fill_between(100 * shares, low, high, alpha=0.15)
ax.axvline(5, color="grey", ls=":", label="at a family doctor's")
ax.set(xlabel="Prevalence (%)", ylabel="Predictive value")
ax.xaxis.set_major_formatter("{x:g}")
ax.legend()
plots.show(fig, alt=f"The rarer the disease, the lower the PPV. {thousand}")

# %% [markdown]
# These prevalences are made up. (Nobody screens for pneumonia with radiographs.)
#
# Sensitivity and specificity change with the place, too (the *spectrum effect*). At a family doctor's,
# pneumonias are often fainter. On a ward, people without pneumonia may have heart failure, effusions or
# atelectasis (a part of the lung without air), which also look white. Our set has only normal negatives,
# which flatters its specificity.
#
# A normal radiograph does not exclude pneumonia. In one study of emergency patients, 5.6 % had opacities
# on CT. Radiographs showed 43.5 % of them, and 26.9 % of the positive radiographs were right (Self 2013,
# below). Labels taken from radiographs hide such misses.
#
# A *precision-recall curve* (PPV against sensitivity) also holds at one prevalence only. Now move
# threshold and prevalence yourself.

# %%
widgets.threshold_explorer(judge, threshold=threshold.value, prevalence=0.05)

# %% [markdown] tags=["notes"]
# Let everyone predict first: what happens to the PPV from 20 to 1 per cent? To the sensitivity?
# (Nothing.) At 1 per cent, which threshold makes every second alarm true, and how many does it miss?

# %% [markdown]
# ## 7. Does 0.8 mean 8 in 10? Calibration
#
# If a score is a *probability*, about 8 in 10 images scored near 0.8 should be positive. We sort the
# images into bins by score and count.

# %% tags=["nbval-check-output"]
edges = [0.2, 0.4, 0.6, 0.8]
place = np.digitize(y_score.round(12), edges)
binned = pd.DataFrame({"place": place, "said": y_score, "observed": y_true}).groupby("place")
by_hand = binned.agg(images=("said", "size"), said=("said", "mean"), observed=("observed", "mean"))
library = metrics.reliability(predictions, bins=5, strategy="uniform")
np.testing.assert_allclose(by_hand["observed"], library["observed"])
by_hand.round(2).style.format("{:g}").hide()

# %% [markdown]
# Compare the mean score (*said*) with the share that has pneumonia (*observed*). If low scores come true less
# often than said, and high scores more often, the model is underconfident. The reverse is overconfident.
# (In a bin of few images, chance can look like either.)
#
# Our model is strongly regularised: its weights are pulled towards zero, so that it cannot memorise the
# training images. (A *small* `C` is strong: ours is 0.001.) Is it overconfident at 10, which is almost
# none?

# %%
weakly_regularised = predictions.with_scores(out_of_fold(C=10.0))
both = {"C = 0.001": predictions, "C = 10": weakly_regularised}
ax = plots.plot_reliability(both, bins=5, strategy="uniform")
slopes = [f"{name}: {metrics.calibration_line(one).slope:.2f}" for name, one in both.items()]
plots.show(ax.figure, alt=f"Slope of each model, 1 if calibrated: {'; '.join(slopes)}.")

# %% [markdown]
# A curve steeper than the dotted line is underconfident, a flatter one overconfident. The ticks are single
# images.

# %%
table = {}
for name, one in both.items():
    slope = metrics.calibration_line(one).slope
    table[name] = [f"{metrics.auc(one):.2f}", f"{metrics.brier(one):.2f}", f"{slope:.2f}"]
gap = metrics.auc_difference(predictions, weakly_regularised)
display(pd.DataFrame.from_dict(table, orient="index", columns=["AUC", "Brier score", "slope"]))
verdict = "is more than chance" if gap.low > 0 or gap.high < 0 else "may be due to chance"
display(Markdown(f"Difference of the AUCs on the same images: {gap:.2f}; it {verdict}."))

# %% [markdown]
# The **Brier score** is the mean squared difference between score and truth (0 or 1). Smaller is better,
# but compare: always saying the prevalence *p* gives *p*(1 - *p*), which is tiny for a rare disease. The
# **slope** is 1 if the scores are spread as they should be, below 1 for overconfident ones, above 1 for
# underconfident ones; its interval comes from a
# [sandwich variance](/notebooks/glossary.md#sandwich-variance). The AUC shows none of this.

# %% tags=["hide-input"]
slope = metrics.calibration_line(weakly_regularised).slope
if slope.high < 1:
    verdict = "The interval lies below 1: the model is overconfident."
elif slope.low > 1:
    verdict = "The interval lies above 1: even so, the model is underconfident."
else:
    verdict = "The interval includes 1, so overconfidence is not shown."
sure = np.abs(weakly_regularised.y_score - 0.5) > 0.4
right = np.mean((weakly_regularised.y_score > 0.5)[sure] == (y_true == 1)[sure])
said = f"Of {sure.sum()} scores below 0.1 or above 0.9, {100 * right:.0f} % are correct."
display(Markdown(f"Slope **{slope:.2f}**. {verdict} {said}"))

# %% [markdown]
# ### Temperature: one number that repairs much
#
# Turn each score back into a logit, divide it by a number *T*, and turn it into a score again. *T* above
# 1 pulls all scores towards 0.5, for an overconfident model; *T* below 1 pushes them apart, for an
# underconfident one. We take the *T* with the smallest log loss on the patients to choose on:
# *temperature scaling*, here of our first model.

# %%
logit = np.log(choose.y_score / (1 - choose.y_score))
temperatures = np.geomspace(0.05, 20, 500)
p_positive = 1 / (1 + np.exp(-logit / temperatures[:, None]))
p_truth = np.where(choose.y_true == 1, p_positive, 1 - p_positive)
losses = -np.log(p_truth).mean(axis=1)
by_hand = temperatures[losses.argmin()]

temperature = metrics.fit_temperature(choose)
step = temperatures[1] / temperatures[0]
assert 1 / step <= temperature / by_hand <= step

# %% tags=["nbval-check-output", "hide-input"]
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(temperatures, losses, color="#0072B2")
ax.plot(by_hand, losses.min(), "o", color="#D55E00", label=f"least surprise: T = {by_hand:.2f}")
ax.axvline(1, color="#767676", ls=":", label="T = 1: as it is")
ax.set(xscale="log", xlabel="temperature T", ylabel="log loss", ylim=(0, 2 * losses[-1]))
ax.legend(frameon=False)
plots.show(fig, alt=f"The log loss is smallest at a temperature of {by_hand:.2f}.")

# %% tags=["nbval-check-output"]
calibrated = metrics.temper(judge, temperature)
before, after = metrics.brier(judge), metrics.brier(calibrated)
assert metrics.auc(calibrated).value == metrics.auc(judge).value
gain = before.value - after.value
verdict = "better" if gain > 0.002 else "worse" if gain < -0.002 else "hardly a change"
display(
    Markdown(
        f"On the images to judge on, the Brier score goes from **{before.value:.3f}** to "
        f"**{after.value:.3f}**: {verdict}. The AUC stays, to the last digit."
    )
)

# %% [markdown]
# The scores moved, but no two images changed places, and 0.5 stays 0.5. A temperature cannot repair a
# *shift*: if all scores are too high or too low, you also need an intercept. Expect that at every new
# hospital: where the disease is rarer than here, all our scores are too high. A lower Brier score means
# better, not calibrated.

# %% [markdown]
# ## 8. More good than harm? The decision curve
#
# An AUC does not say whether a model *helps*. A doctor who acts above a risk of 20 % accepts four false
# alarms for each person found. So to her, a false alarm does a quarter as much harm as finding a person
# does good. Good minus harm is the **net benefit**, if the scores are risks (calibrated).

# %%
risk, sick = 0.2, calibrated.y_true == 1
acts = calibrated.y_score >= risk
good, harm = np.mean(acts & sick), np.mean(acts & ~sick)
net_benefit = good - harm * risk / (1 - risk)

curve = metrics.decision_curve(calibrated)
np.testing.assert_allclose(net_benefit, curve.loc[np.isclose(curve["threshold"], risk), "model"])

# %% [markdown]
# Now for every risk, beside two rivals without a model: act on everyone, act on no one.

# %%
rival = np.maximum(curve["all"], curve["none"])
above = int((curve["model"] > rival + 1e-9).sum())
ax = plots.plot_decision_curve(curve)
plots.show(ax.figure, alt=f"Net benefit above both rivals at {above} of 99 risks.")

# %% [markdown]
# The band is the interval of the model alone, *not* of its lead: with other patients, both curves would
# move together. So we bootstrap the model's net benefit minus that of the better rival.

# %%
def lead_at(risk):
    """Return the model's lead over the better rival at this risk."""
    acts, price = calibrated.y_score >= risk, risk / (1 - risk)
    good_of_all = sick - price * ~sick
    adds = np.transpose([acts * good_of_all, good_of_all, np.ones(len(sick))])
    return metrics.bootstrap(
        lambda sums: (sums[:, 0] - np.maximum(sums[:, 1], 0)) / sums[:, 2],
        adds,
        calibrated.patient_ids,
    )


# %%
leads = [lead_at(risk) for risk in curve["threshold"]]
np.testing.assert_allclose([lead.value for lead in leads], curve["model"] - rival, atol=1e-9)
surely = sum(lead.low > 1e-9 for lead in leads)
display(
    Markdown(
        f"The model is above both rivals at **{above}** of {len(curve)} thresholds. At "
        f"**{surely}** of them the whole interval of its lead is above zero."
    )
)

# %% [markdown]
# Look only at thresholds that someone would use, and name them beforehand. Where the interval of the
# lead reaches zero, the benefit is not shown. Like the PPV, the net benefit holds at one prevalence. With
# calibrated scores, the risk from which you act *is* the threshold.
#
# ## 9. The errors, one by one
#
# Here are the misses with the lowest scores and the false alarms with the highest. Known lesions are
# outlined.

# %%
order = np.argsort(judge.y_score, kind="stable")
wrong = order[(judge.predicted(threshold.value) != judge.y_true)[order]]
missed, alarmed = wrong[judge.y_true[wrong] == 1][:4], wrong[judge.y_true[wrong] == 0][::-1][:4]
known = studies.set_index("image_id")
rows = {
    kind: known.loc[judge.ids[at]].reset_index()
    for kind, at in (("missed", missed), ("alarmed", alarmed))
}
place = {name: k for k, name in enumerate(data.ids)}

# %% tags=["hide-input"]
fig, axes = plt.subplots(2, 4, figsize=(6.6, 3.5), layout="constrained")
alt = "Above, missed images; below, false alarms."
for line, (kind, table) in zip(axes, rows.items(), strict=True):
    outlines = datasets.decode_masks(table) if "mask_path" in table and len(table) else []
    for column, ax in enumerate(line):
        ax.set_axis_off()
        if column < len(table):
            film = place[table["image_id"][column]]
            plots.plot_image(data.images[film], title=f"{kind}: {y_score[film]:.2f}", ax=ax)
            if len(outlines) and outlines[column].any():
                ax.contour(outlines[column], [0.5], colors="#E69F00", linewidths=1)
plots.show(fig, alt=alt, colours=256)

# %% [markdown]
# For each one ask, in this order:
#
# 1. Is the *label* right? In real sets people made the *ground truth*; in the sample a program drew it.
# 2. Is the *image* right (rotation, a shallow breath, noise, an object on the patient)?
# 3. Would *I* have seen it? A radiologist also knows the symptoms, and often has prior images and a
#    lateral view.
# 4. Only then: what did the network not learn?
#
# In the sample, *pattern* says how the disease spreads: *lobar* fills a lobe, *bronchopneumonia* makes
# patches, *interstitial* a fine net in both lungs. *Grade* says how strongly it was drawn, not how large
# it is or how hard to see. A *distractor* is harmless, such as an electrode.

# %% tags=["nbval-check-output"]
facts = ["view", "pattern", "grade", "distractor"]
facts = [name for name in facts if name in rows["missed"]]
if facts and len(missed):
    display(rows["missed"][facts].fillna("").style.hide())
else:
    print("This data set tells nothing more about the missed images than their label.")

# %% [markdown]
# Some lesions escape people too: subtle ones, and those behind the heart or below the diaphragm's dome.
# If the missed images share a view or a hospital, the model may fail a group; a few images only suggest
# what to count.
#
# ### Read the images yourself
#
# A *reader study* compares a model with people. Be a reader: for each of 20 images, say how sure you are
# that it shows pneumonia, from 1 (surely not) to 5 (surely). Then read them again with the network's
# score. (Keyboard: Tab moves between the buttons, Space presses one. Without a kernel, note your answers
# on paper; the truth is folded below the images.)
#
# This needs sight: a text that described the images would already read them. With a screen reader, let
# `weakly_regularised` (section 7) be the reader, and compare both with `metrics.auc_difference`.
#
# You then see your ROC curve beside the network's, your agreement with it (*Cohen's kappa*: 1 is full
# agreement, 0 no more than chance), and how often its score led you to a wrong answer. Readers tend to
# follow a score, even a wrong one (*automation bias*). (Twenty images say little, and you may remember
# them the second time.)

# %%
widgets.reading_study(data.images, predictions, rng=np.random.default_rng(5))

# %% [markdown]
# ## 10. The same for everyone? Subgroups
#
# A good mean can hide a group for which the model works badly. So repeat this by sex, age, view, site,
# grade of the lesion, and by the pixels: are they brighter or darker than most?

# %%
brightness = data.images.mean(axis=(1, 2))
groups = pd.DataFrame({"film": np.where(brightness > np.median(brightness), "brighter", "darker")})
for name in ("sex", "view", "site"):
    if name in studies and len(set(studies[name])) > 1:
        groups[name] = studies[name].to_numpy()
if "age" in studies:
    groups["age"] = metrics.age_bands(studies["age"])
if "weak" in set(studies.get("grade", ())):
    grade = studies["grade"].where(studies["label"] == data.classes[1])
    groups["lesion"] = pd.Categorical(grade, ["weak", "medium", "strong"], ordered=True)
absent = sorted({"sex", "view", "site", "age", "lesion"} - set(groups.columns))

# %% tags=["nbval-check-output"]
if absent:
    print(f"This data set does not know: {', '.join(absent)}. Nobody can check these groups on it.")
report = metrics.subgroups(predictions, groups, threshold=threshold)
ax = plots.plot_subgroups(report, metric="auc")
ax.set_xlim(0.3, 1.02)
plots.show(ax.figure, alt="AUC of each subgroup, with its interval.")

# %% [markdown]
# The AUC needs no threshold, so it can use all images. A hollow mark means fewer than 20 images in the
# smaller class: conclude nothing from it. Each grade of lesion is compared with all images without
# pneumonia.
#
# Sensitivity needs a threshold, so we use only the patients to judge on. The gap is the group's
# sensitivity minus that of the largest known group:

# %% tags=["nbval-check-output"]
on_judge = groups[parts == "test"].reset_index(drop=True)
strict = metrics.subgroups(judge, on_judge, threshold=threshold)
gaps = strict.gaps[strict.gaps["metric"] == "sensitivity"].dropna(subset=["low"])
shown = pd.DataFrame(
    {
        "group": gaps["attribute"] + ": " + gaps["group"] + " against " + gaps["reference"],
        "gap": [f"{g.value:+.2f} ({g.low:+.2f} to {g.high:+.2f})" for g in gaps.itertuples()],
        "say": np.where(gaps["warning"] == "", "", "too small"),
    }
)
shown.style.hide()

# %% tags=["nbval-check-output"]
beyond = int(((gaps["low"] > 0) | (gaps["high"] < 0)).sum())
display(
    Markdown(
        f"Gaps in sensitivity: {len(gaps)}. Gaps whose interval leaves out 0: "
        f"**{beyond}** (chance alone: about one in 20)."
    )
)

# %% [markdown]
# One mistake is to find a "significant" group by testing many. The other is to read "no difference shown"
# as "no difference": with few people, a large gap hides in its interval. Often the honest sentence is:
# *too few to say; measure more* ([6. Ethics](/notebooks/06_ethics.ipynb)).
#
# ## 11. All of it in one report
#
# `reports.write_report` collects results, intervals, figures, subgroups and warnings.

# %% tags=["nbval-check-output"]
with tempfile.TemporaryDirectory() as folder:
    reports.write_report(judge, folder, threshold=threshold, studies=studies, prevalence=0.05)
    print(*sorted(path.name for path in Path(folder).iterdir()))

# %% tags=["headline", "hide-input", "nbval-check-output"]
names = ["sensitivity", "specificity", "ppv", "npv", "accuracy", "auc"]
said = ", ".join(f"{name} {result[name]:.2f}" for name in names)
display(
    Markdown(
        f"**{len(judge)} images of {judge.n_patients} patients**, threshold "
        f"{threshold.value}: {said}."
    )
)
for warning in result.warnings:
    print("warning:", warning)

# %% [markdown]
# A colleague sends `scores.csv`, the same model's scores for the images of `judge`.

# %% tags=["hide-input", "nbval-check-output"]
path = Path(tempfile.mkdtemp()) / "scores.csv"
other = rng.permutation(np.append(np.arange(len(judge)), 0))
pd.DataFrame({"image": judge.ids[other],
              "score": (100 * (1 - judge.y_score[other])).round()}).to_csv(path, index=False)
received = pd.read_csv(path)
print(f"{len(received)} rows, of {received['image'].nunique()} images; judged: {len(judge)} images")
print(f"score: from {received['score'].min():.0f} to {received['score'].max():.0f}")

# %% [markdown]
# ### Exercise: a file of scores that is wrong
#
# It opens, but is wrong in several ways. Find them, and make the right `Predictions` of it.

# %% tags=["exercise"]
# solution: begin
# blank: mine = ...  # metrics.Predictions(ids, y_true, y_score, patient_ids, classes)
by_image = received.drop_duplicates("image").set_index("image")["score"]
scores = 1 - by_image[judge.ids].to_numpy() / 100  # per cent, for *normal*
mine = metrics.Predictions(judge.ids, judge.y_true, scores, judge.patient_ids, judge.classes)
# solution: end
exercises.check("04-file", mine, judge=judge)
# exercises.hint("04-file")

# %% [markdown]
# <details><summary>Going further: more than two classes</summary>
#
# Compare each class with the rest (`predictions.one_vs_rest(k)`). For ordered grades,
# `metrics.evaluate(..., ordinal=True)` adds the quadratic kappa, which penalises confusions of distant
# grades more.
#
# </details>
#
# ## Key points
#
# - Ask "of whom?" Sensitivity and specificity start from the truth, PPV and NPV from the result.
# - The AUC is the probability that a person with the disease scores higher than one without.
# - Give every number an interval: Wilson's for proportions, DeLong's for the AUC, by patient.
# - Choose the threshold on other patients, by a rule that says which error is worse.
# - A PPV holds at one prevalence only. Count a thousand people.
# - Scores are probabilities only if calibrated. A temperature does not repair a shift.
# - Look at the errors and at the groups, and say when a group is too small.
#
# ## Further reading
#
# - [Hanley and McNeil 1982](https://doi.org/10.1148/radiology.143.1.7063747): what the AUC means
# - [DeLong et al. 1988](https://doi.org/10.2307/2531595): the interval of an AUC
# - [Brown et al. 2001](https://doi.org/10.1214/ss/1009213286): why Wilson's interval
# - [Gigerenzer et al. 2007](https://doi.org/10.1111/j.1539-6053.2008.00033.x): counting people
# - [Self et al. 2013](https://doi.org/10.1016/j.ajem.2012.08.041): radiographs against CT
# - [Van Calster et al. 2019](https://doi.org/10.1186/s12916-019-1466-7): why calibration matters
# - [Vickers and Elkin 2006](https://doi.org/10.1177/0272989X06295361): decision curves
#
# ## Next step
#
# [5. Explain](/notebooks/05_explain.ipynb) asks where the network looked, and whether we can believe the
# answer.

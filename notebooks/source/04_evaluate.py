# %% [markdown]
# # 4. Evaluate: what a score is worth at the bedside
#
# {{badges}}
#
# **You will be able to**
#
# - fill in a confusion matrix by hand, and say what sensitivity, specificity, PPV and NPV each ask;
# - draw a ROC curve from nothing, and explain its area to a colleague without a formula;
# - put an interval around every number, and tell when one is missing;
# - choose a threshold without fooling yourself, and say what it means where the disease is rare;
# - check whether a score of 0.8 means 8 in 10, and whether acting on it does more good than harm;
# - look at the errors one by one, and at groups of patients side by side.
#
# **You need first:** the [quickstart](/quickstart.ipynb); Python up to a `for` loop and a function.
# The network here is the frozen one of [3. Fine-tune](/notebooks/03_finetune.ipynb), but nothing
# depends on having read that.
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
# A network does not say "pneumonia". It gives each film a score between 0 and 1, and everything in
# this notebook is about what may be concluded from such scores. So we need scores that are *fair*:
# no film may be judged by a model that has met its patient.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
studies = datasets.subsample(datasets.load(), {"train": 400, "val": 100, "test": 300}, rng=rng)
data = datasets.decode(studies, size=224)
people = np.unique(data.patients)
print(f"{data}, of {len(people)} patients")

# %% [markdown]
# The network stays frozen: it turns each film into a list of numbers, its *features*, and a
# logistic regression weighs them into a score. That takes seconds, and this notebook is not about
# training. (`Precision()` asks for ordinary 32-bit arithmetic, so that your numbers equal ours on
# any machine.)

# %% tags=["nbval-check-output"]
model = models.build_model("efficientnet_lite0")
features = training.run_model(
    model, data.images, output="pooled", precision=Precision()
)
features.shape

# %% [markdown]
# A test set apart is the plainest way to fair scores, but with few films it is a small one, and a
# small test set says little (section 4 shows how little). *Cross-validation* uses every film once:
# deal the **patients** into five parts; let each part be judged by a model that learned from the
# other four. The scores are *out of fold*: each film was judged by a model that never saw it, nor
# any other film of the same person.
#
# We keep two decimals. Nobody at a bedside believes the third.


# %%
def out_of_fold(C):
    """Score each film by a model that never met its patient."""
    def score(learn, judge):
        probe = training.linear_probe(features[learn], data.labels[learn], C=C)
        return training.probabilities(probe.logits(features[judge]))

    scores = training.cross_validate(score, data.labels, data.patients)
    return np.clip(scores.round(2), 0.01, 0.99)


y_true, y_score = data.labels, out_of_fold(C=0.001)

# %% [markdown]
# Before any number, look. Each film is one count in this histogram, at its score.

# %%
fig, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
bins = np.linspace(0, 1, 26)
for k, colour, hatch in ((0, "#0072B2", ""), (1, "#D55E00", "//")):
    name = data.classes[k]
    ax.hist(y_score[y_true == k], bins, color=colour, alpha=0.55, hatch=hatch, label=name)
ax.set(xlim=(0, 1), xlabel=f"score: P({data.classes[1]})", ylabel="films")
ax.legend(title="in truth", frameon=False)
mean_healthy, mean_ill = (y_score[y_true == k].mean() for k in (0, 1))
plots.show(fig, alt=f"Healthy films score {mean_healthy:.2f} on average, ill ones {mean_ill:.2f}.")

# %% [markdown]
# Two hills that overlap. If they did not, one cut would separate ill from healthy and the notebook
# would end here. If one lay wholly on the other, the network would know nothing. Reality lies
# between, and where we cut decides *who bears the errors*: a cut on the left alarms healthy
# people, a cut on the right sends ill people home.

# %% [markdown] tags=["notes"]
# Ask the class, before going on: where would you cut, and why there? Collect two or three answers
# from people with different jobs (a ward nurse, someone from screening). They will differ. Keep
# them on the board: section 5 comes back to them.

# %% [markdown]
# ## 2. One threshold, four boxes
#
# Cut at 0.5: a film with at least this score is *called* ill. Now every film falls into one of four
# boxes, and they can be counted with nothing but `and`.

# %% tags=["nbval-check-output"]
called_ill = y_score >= 0.5
tp = np.sum((y_true == 1) & called_ill)  # true positives: ill, and found
fn = np.sum((y_true == 1) & ~called_ill)  # false negatives: ill, and missed
fp = np.sum((y_true == 0) & called_ill)  # false positives: healthy, and alarmed
tn = np.sum((y_true == 0) & ~called_ill)  # true negatives: healthy, and left in peace
print(f"{tp} found, {fn} missed, {fp} alarmed, {tn} left in peace")

# %% [markdown]
# (Books call them true positives, *false negatives*, *false positives* and true negatives.) These four
# numbers, laid out as a table with the truth down the side, are the *confusion matrix*.
# The course's library counts the same. From here on we put labels, scores and patients into one
# object, `Predictions`, that every function of `medimg.metrics` understands.

# %%
predictions = metrics.Predictions(data.ids, y_true, y_score, data.patients, data.classes)
matrix = metrics.confusion_matrix(predictions, threshold=0.5)
assert np.array_equal(matrix, [[tn, fp], [fn, tp]])
ax = plots.plot_confusion(matrix)
plots.show(ax.figure, alt="Confusion matrix at 0.5: true class by row, called class by column.")

# %% [markdown]
# Read it by **rows**: each row is a group of people who share a truth. The lower row is the ill.
# Most mix-ups come from reading it by columns without noticing, and books differ in which way round
# they print it. Ask "of *whom*?" and you cannot go wrong.
#
# ### Exercise: of the ill, how many are found?
#
# Compute the *sensitivity* of this network at a threshold of 0.5, as a fraction between 0 and 1.
# Use the four counts above.

# %% tags=["exercise"]
# solution: begin
sensitivity = tp / (tp + fn)
# solution: end
exercises.check("04-sensitivity", sensitivity, y_true=y_true, called_ill=called_ill)
# exercises.hint("04-sensitivity")  # take away the first # for a hint

# %% [markdown]
# The four questions of the clinic are the four ways to read the table. Two go along the rows, two
# along the columns:
#
# | | asks | of whom? |
# |---|---|---|
# | sensitivity | how many did we find? | of the ill |
# | specificity | how many did we leave in peace? | of the healthy |
# | PPV | how many are ill? | of those called ill |
# | NPV | how many are healthy? | of those called healthy |
#
# And the accuracy asks how many were called rightly, of everybody. It is the number most often
# quoted and the least useful: compare it with a dummy that looks at no film and always names the
# commoner class.

# %% tags=["nbval-check-output"]
accuracy = (tp + tn) / len(y_true)
dummy = max(np.mean(y_true == 0), np.mean(y_true == 1))
commoner = data.classes[int(np.mean(y_true == 1) > 0.5)]
display(
    Markdown(
        f"The network calls **{100 * accuracy:.0f} %** of the films rightly. A dummy that always "
        f"says *{commoner}* calls **{100 * dummy:.0f} %** rightly, and it is of no use to anyone."
    )
)

# %% [markdown]
# ## 3. All thresholds at once: the ROC curve
#
# Why 0.5? There is no reason. So try them all: go through the scores from the highest to the
# lowest, cut there, and note two shares each time: of the healthy, how many are alarmed; of the
# ill, how many are found.

# %%
points = [(0.0, 0.0)]  # a threshold above every score calls nobody
for threshold in np.unique(y_score)[::-1]:
    called = y_score >= threshold
    points.append((called[y_true == 0].mean(), called[y_true == 1].mean()))
alarmed, found = np.transpose(points)

curve = metrics.roc_curve(predictions)
np.testing.assert_allclose(found, curve["sensitivity"])
np.testing.assert_allclose(1 - alarmed, curve["specificity"])

# %% tags=["nbval-check-output"]
area = np.trapezoid(found, alarmed)
share = metrics.auc(predictions).value  # the library's
ax = plots.plot_roc(predictions, threshold=0.5)
ax.fill_between(alarmed, found, color="#0072B2", alpha=0.08)
plots.show(ax.figure, alt=f"The ROC curve by hand; the area below it is {share:.2f}.")

# %% [markdown]
# Each point of the curve is one threshold; the dot is the one at 0.5, with the uncertainty of
# both rates. Moving the threshold moves along the curve: more ill people found, more healthy ones
# alarmed. A better network has a better *curve*; a threshold only picks a place on it.
#
# ### What the area means
#
# The area under the curve, the AUC, has a reading that needs no curve at all. Draw one ill and one
# healthy person at random. The AUC is the probability that **the ill one has the higher score**. A
# tie counts one half. Half of the pairs won is a coin; all of them won is perfect order.
#
# ### Exercise: the AUC out of pairs
#
# Complete the function: it takes the scores of the ill and of the healthy, and returns the share of
# all pairs that the ill one wins. A loop in a loop will do. Mind the ties.


# %% tags=["exercise"]
def share_of_pairs_won(ill_scores, healthy_scores):
    # solution: begin
    won = 0.0
    for ill in ill_scores:
        for healthy in healthy_scores:
            won += 1.0 if ill > healthy else 0.5 if ill == healthy else 0.0
    return won / (len(ill_scores) * len(healthy_scores))
    # solution: end


exercises.check("04-pairs", share_of_pairs_won)
# exercises.hint("04-pairs")  # take away the first # for a hint

# %% [markdown]
# All pairs can be compared in one step, as a table with a row for each ill person and a column for
# each healthy one. Its mean is the AUC, and equals the area under the curve and the library's
# value.

# %%
ill_scores, healthy_scores = np.sort(y_score[y_true == 1]), np.sort(y_score[y_true == 0])
won = np.where(ill_scores[:, None] == healthy_scores, 0.5, ill_scores[:, None] > healthy_scores)
np.testing.assert_allclose(won.mean(), area)
np.testing.assert_allclose(won.mean(), metrics.auc(predictions).value)

# %% tags=["nbval-check-output"]
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.imshow(won, cmap="cividis", origin="lower", aspect="auto", interpolation="nearest")
ax.set(xlabel="healthy films, by rising score", ylabel="ill films, by rising score")
ax.set_title("yellow: the ill one scores higher; blue: the healthy one; grey: a tie", fontsize=10)
plots.show(fig, alt=f"Of all pairs of an ill and a healthy film, {share:.2f} are won.")

# %% [markdown]
# The border between yellow and blue *is* the ROC curve, turned by 180 degrees. Two things
# follow from the pairs. The AUC does not depend on how common the disease is, since each pair has
# one of each. And it only knows the *order* of the scores: halve them all and nothing changes. So
# it can say nothing on whether a score of 0.8 means 8 in 10 (section 7).
#
# ## 4. How sure are we? Intervals
#
# With other patients the numbers would have come out otherwise. An *interval* says how far. Without
# one, a sensitivity of 0.90 from ten people looks like one from ten thousand.
#
# For a share (so many of so many) take Wilson's interval. It asks: which true rates would have
# made our count unsurprising? By hand it is three lines.

# %%
z = NormalDist().inv_cdf(0.975)  # 1.96: how many standard errors hold 95 % of a bell curve


def wilson(hits, n):
    p, shrink = hits / n, 1 / (1 + z**2 / n)
    centre = shrink * (p + z**2 / (2 * n))
    half = shrink * z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


library = metrics.wilson(tp, tp + fn)
np.testing.assert_allclose(wilson(tp, tp + fn), (library.low, library.high), atol=1e-12)

# %% [markdown]
# How wide is it? Here is the interval of a test that found nine of every ten ill people, for
# studies of different size.

# %% tags=["nbval-check-output"]
sizes = np.array([10, 20, 40, 100, 200, 400, 1000])
low, high = np.transpose([wilson(0.9 * n, n) for n in sizes])
fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
ax.errorbar(sizes, 0.9 + 0 * sizes, yerr=[0.9 - low, high - 0.9], fmt="o", capsize=4)
ax.set_xscale("log")
ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
ax.minorticks_off()
ax.set(ylim=(0.5, 1), xlabel="ill people in the study", ylabel="sensitivity, 95 % interval")
plots.show(
    fig, alt=f"With 10 ill people the interval begins at {low[0]:.2f}, with 1,000 at {low[-1]:.2f}."
)

# %% [markdown]
# Ten times as many people make the interval about three times as narrow. Note that the arms are not
# equally long: a rate cannot exceed 1, and Wilson's interval knows. The school formula
# `p ± 1.96 √(p(1-p)/n)` does not, and near 0 or 1 it goes badly wrong, as you will see now.
#
# ### Exercise: twenty of twenty
#
# A leaflet says: "In our study the software found **every** one of the 20 ill patients: sensitivity
# 100 %." What is the **lower end** of Wilson's 95 % interval, to two or three decimals?

# %% tags=["exercise"]
hits, n = 20, 20
# solution: begin
lower_end = wilson(hits, n)[0]
# solution: end
exercises.check("04-twenty", lower_end)
# exercises.hint("04-twenty")  # take away the first # for a hint

# %% [markdown]
# So the leaflet's study cannot tell perfect software from one that misses one ill person in seven.
# (The school formula would have given an interval of no width at all: 1 to 1.)
#
# ### The interval of an AUC
#
# An AUC is a mean over pairs, but pairs are not independent: each ill person is in many. (Whoever is
# short of time may skip this cell and take the interval from `metrics.auc`.)
# DeLong's method reduces the table of pairs to one number a person: the share of pairs that
# *this* person won (ill) or lost (healthy). How much these shares vary tells how much the AUC
# would.

# %%
per_ill, per_healthy = won.mean(axis=1), won.mean(axis=0)
variance = per_ill.var(ddof=1) / len(per_ill) + per_healthy.var(ddof=1) / len(per_healthy)
by_hand = won.mean() + np.array([-z, z]) * np.sqrt(variance)

unaware = metrics.Predictions(data.ids, y_true, y_score, classes=data.classes)
plain = metrics.auc(unaware, scale="plain")
np.testing.assert_allclose(np.clip(by_hand, 0, 1), (plain.low, plain.high))

# %% [markdown]
# This is what most software prints. Two things are better done otherwise, and `metrics.auc` does
# them unless told not to. It works on the *logit scale*, so that the interval stays within 0 and 1
# and keeps its promise in small studies. And it counts **patients**, not films: two films of one
# person resemble each other, and are worth less than films of two persons.

# %% tags=["headline", "nbval-check-output"]
auc = metrics.auc(predictions)
own_test = predictions.subset(data.splits == "test")
alone = metrics.auc(own_test)
display(
    Markdown(
        f"AUC on all {len(predictions)} films of {predictions.n_patients} patients, out of fold: "
        f"**{auc:.2f}** ({auc.method}). From the {len(own_test)} films of the test split alone it "
        f"would be {alone:.2f}: an interval {alone.high - alone.low:.2f} wide instead of "
        f"{auc.high - auc.low:.2f}."
    )
)

# %% [markdown]
# That is why we took the trouble of cross-validation. It has its price: it judges the *recipe*
# (five models made in the same way), not one finished model. And its interval counts the chance of
# whom we judged, not of whom we learned from, so it is too narrow: in simulations of such a recipe
# (`benchmarks/coverage.py`) nominal 95 % intervals held the true mean AUC in only 88 % of studies with
# 100 films, and in 93 % with 400. The model that goes to a ward still has to be tested by itself, on
# patients from elsewhere.
#
# ## 5. Choose a threshold, and do not fool yourself
#
# A threshold is a decision, and decisions are made on data that the final measurement does not
# use. So divide the **patients** once more: some to choose on, the others to judge on. (Being
# strict, the models behind both parts have learned from patients of the other. With enough
# patients you would keep a test set out of everything.)

# %% tags=["nbval-check-output"]
parts = datasets.split_by_patient(studies, rng=rng, fractions=(0, 0.4, 0.6))["split"].to_numpy()
choose, judge = predictions.subset(parts == "val"), predictions.subset(parts == "test")
print(f"to choose on: {choose}\nto judge on:  {judge}")

# %% [markdown]
# Say first what must not happen; then let it choose. On a ward, a missed pneumonia is worse than an
# extra look at a healthy patient. The rule: **find at least nine of ten ill people, and among the
# thresholds that do, alarm the fewest healthy ones.** By hand it is a table and a filter.

# %%
tried = pd.DataFrame({"threshold": np.unique(choose.y_score)})
for name, group in (("sensitivity", choose.y_true == 1), ("called_healthy", choose.y_true == 0)):
    tried[name] = [np.mean(choose.y_score[group] >= t) for t in tried["threshold"]]
tried["specificity"] = 1 - tried.pop("called_healthy")
allowed = tried[tried["sensitivity"] >= 0.9]
best = allowed.sort_values(["specificity", "sensitivity"]).iloc[-1]

threshold = metrics.choose_threshold(choose, rule="sensitivity", floor=0.9)
assert threshold.value == best["threshold"]

# %% tags=["nbval-check-output"]
result = metrics.evaluate(judge, threshold=threshold)
display(
    Markdown(
        f"Chosen: score at least **{threshold.value:.2f}**. Where it was chosen it finds "
        f"{100 * threshold.sensitivity:.0f} % of the ill. On the patients it was not chosen on: "
        f"sensitivity **{result['sensitivity']:.2f}**, specificity "
        f"**{result['specificity']:.2f}**."
    )
)

# %% [markdown]
# One division proves little, whether the second number came out lower or higher. Divide the
# patients at random two hundred times, choose on one half, and compare what was *promised* there
# with what was *kept* on the other half.

# %%
promised, kept = [], []
for _ in range(200):
    half = np.isin(data.patients, rng.permutation(people)[: len(people) // 2])
    chosen = metrics.choose_threshold(predictions.subset(half), rule="sensitivity", floor=0.9)
    promised.append(chosen.sensitivity)
    kept.append(np.mean(y_score[~half & (y_true == 1)] >= chosen.value))

# %% tags=["nbval-check-output"]
fig, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
bins = np.arange(0.4, 1.03, 0.025) - 1e-6  # so that 0.9 itself counts as kept
ax.hist(kept, bins, color="#0072B2", alpha=0.6, label="kept")
ax.hist(promised, bins, color="#D55E00", histtype="step", lw=2, label="promised")
ax.axvline(0.9, color="black", ls="--", label="the floor we asked for")
ax.set(xlabel="sensitivity", ylabel="random divisions")
ax.legend(frameon=False)
plots.show(fig, alt=f"Promised on average {np.mean(promised):.2f}, kept {np.mean(kept):.2f}.")

# %% [markdown]
# The promise is never broken where it was made: that is what "chosen on" means. On new patients it
# is often broken, and the fewer patients there are to choose on, the more often. Whoever chooses on
# the test set reports the orange outline (the promise), not the blue bars. `metrics.evaluate` notices,
# and says so:

# %% tags=["nbval-check-output"]
fooled = metrics.evaluate(choose, threshold=threshold)
print(fooled.warnings[0])

# %% [markdown]
# Other rules fit other places. *Youden's index* adds both rates as if equal. In people, that makes
# one miss as bad as (healthy / ill) false alarms: 19 where one in twenty is ill. Nobody chose that
# price. A *cost* says outright how many false alarms one miss is worth.

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
# Two rules may land on the same threshold. And on new patients a rule need not keep its order: one that
# was made to find more may find fewer. With few ill films to choose on, there are few thresholds to
# choose between, and the intervals overlap widely.
#
# The network is the same in all rows. What may change is *what we hold to be worse*, and that is not
# for a computer to decide, nor for the person who trained the network.
#
# ## 6. What does a positive result mean? It depends on where you stand
#
# Sensitivity starts from the ill. A patient starts from the result: *it says pneumonia; do I have
# it?* That is the PPV, and it depends on how common the disease is among those tested, the
# **prevalence**. In our set it is far higher than in most clinics, because somebody collected
# films so that both classes are well filled. Count people instead of shares (natural frequencies):
# picture a thousand of them.

# %% tags=["nbval-check-output"]
sensitivity_found, specificity_found = result["sensitivity"], result["specificity"]
thousand = metrics.natural_frequencies(0.05, sensitivity_found.value, specificity_found.value)
ax = plots.plot_natural_frequencies(thousand)
plots.show(ax.figure, alt=str(thousand))

# %% [markdown]
# One dot is one person; one in twenty is ill here. Look at the blue squares, the false alarms.
# Even if only one healthy person in ten were alarmed, there are so many healthy people that most alarms
# would be false: not because the test is bad, but because most of those who were tested are healthy.
#
# ### Exercise: PPV anywhere
#
# Write the PPV as a function of the prevalence, the sensitivity and the specificity (all
# fractions). Picture 1 person split into four parts: ill and found, ill and missed, healthy and
# alarmed, healthy and left in peace.


# %% tags=["exercise"]
def ppv_at(prevalence, sensitivity, specificity):
    # solution: begin
    ill_and_found = prevalence * sensitivity
    healthy_and_alarmed = (1 - prevalence) * (1 - specificity)
    return ill_and_found / (ill_and_found + healthy_and_alarmed)
    # solution: end


exercises.check("04-ppv", ppv_at)
# exercises.hint("04-ppv")  # take away the first # for a hint

# %% [markdown]
# `metrics.ppv_npv_at` does this and carries the intervals of sensitivity and specificity along. (For this
# very data set the report at the end gives another interval. It looks only at those who were called ill,
# and the share of ill people among them is uncertain too. Here the prevalence is taken as known.)

# %% tags=["nbval-check-output"]
places = {"in this data set": judge.y_true.mean(), "on a ward": 0.2, "at a family doctor's": 0.05,
          "screening healthy people": 0.005}  # fmt: skip
table = {}
for place, prevalence in places.items():
    values = metrics.ppv_npv_at(prevalence, sensitivity_found, specificity_found)
    table[f"{place}: {100 * prevalence:.1f} %"] = [f"{values.ppv:.2f}", f"{values.npv:.3f}"]
pd.DataFrame.from_dict(table, orient="index", columns=["PPV", "NPV"])

# %% tags=["nbval-check-output"]
ax = plots.plot_prevalence(sensitivity_found, specificity_found, mark=0.05)
at = metrics.ppv_npv_at(0.05, sensitivity_found, specificity_found)
plots.show(ax.figure, alt=f"The PPV falls with the prevalence; at 5 % it is {at.ppv.value:.2f}.")

# %% [markdown]
# (The prevalences of the places are made up, to show the direction; find out yours. And nobody
# screens healthy people for pneumonia with chest films: the last row shows what would happen if one
# did. Nor do sensitivity and specificity stay put: at a family doctor's pneumonias are fainter, and
# on a ward those without one are not healthy but have heart failure, effusions or collapsed lung,
# which whiten a film as well. Our set has only normal films to compare with, which flatters its
# specificity. This is the *spectrum effect*: measure where the test will be used.)
#
# A paper that reports a PPV from a set with as many ill as healthy people reports a number that few
# clinics will ever see. (A *precision-recall curve* draws the PPV against the sensitivity over all
# thresholds. It too holds at one prevalence only.) Now move both dials yourself: the threshold
# decides about the hills on the left, the prevalence about the people on the right. Without a
# running kernel you see the first picture only.

# %%
widgets.threshold_explorer(judge, threshold=threshold.value, prevalence=0.05)

# %% [markdown] tags=["notes"]
# Let everyone predict before the slider moves: what happens to the PPV from 20 to 1 per cent? To
# the sensitivity? (Nothing.) Then: which threshold would you need at 1 per cent so that every
# second alarm is true, and how many ill people would that miss?

# %% [markdown]
# ## 7. Does 0.8 mean 8 in 10? Calibration
#
# Order is one thing, the numbers another. If a score is shown to a doctor as a *probability*, then
# of the films with about 0.8, about 8 in 10 should be ill. That is checked by sorting films into
# bins by their score and counting (a bin without films is left out).

# %% tags=["nbval-check-output"]
edges = np.linspace(0, 1, 6)[1:-1].round(12)  # to a computer 3 times 0.2 is not quite 0.6
place = np.digitize(y_score.round(12), edges)  # five bins of equal width
binned = pd.DataFrame({"place": place, "said": y_score, "ill": y_true}).groupby("place")
by_hand = binned.agg(films=("ill", "size"), said=("said", "mean"), ill=("ill", "mean"))
library = metrics.reliability(predictions, bins=5, strategy="uniform")
np.testing.assert_allclose(by_hand["ill"], library["observed"])
by_hand.round(2).style.format("{:g}").hide()

# %% [markdown]
# Compare the last two columns: what was *said*, and how many *are* ill. If those who are given low
# scores are ill less often than said, and those with high scores more often, the model is too
# cautious; the other way round it is too bold.
#
# Our model is strongly regularised: its weights are pulled towards zero, so that it cannot learn every
# training film by heart. Now we fit the same logistic regression with almost no regularisation, so that it
# fits its training films to perfection. (`C` is scikit-learn's: the *inverse* strength of regularisation.
# Our 0.001 is strong, 10 is hardly any.) One expects it to become bold. Does it?

# %%
unleashed = predictions.with_scores(out_of_fold(C=10.0))
both = {"leashed": predictions, "unleashed": unleashed}
ax = plots.plot_reliability(both, bins=5, strategy="uniform")
plots.show(
    ax.figure, alt="Reliability of both models: observed share of ill films against the mean score."
)

# %% [markdown]
# On the dotted line, scores mean what they say. A curve steeper than the line is a cautious model,
# a flatter one a bold one. The ticks at the edges are the films: the unleashed model hardly ever says
# "perhaps". In numbers:

# %%
table = {}
for name, one in both.items():
    slope = metrics.calibration_line(one).slope
    table[name] = [f"{metrics.auc(one):.2f}", f"{metrics.brier(one).score:.2f}", f"{slope:.2f}"]
gap = metrics.auc_difference(predictions, unleashed).difference
display(pd.DataFrame.from_dict(table, orient="index", columns=["AUC", "Brier score", "slope"]))
verdict = "is more than chance explains" if gap.low > 0 or gap.high < 0 else "may well be chance"
display(Markdown(f"Difference of the AUCs on the same films: {gap:.2f}; it {verdict}."))

# %% [markdown]
# The **Brier score** is the mean squared distance between the score and the truth (0 or 1): smaller
# is better, and someone who always says one half gets 0.25. The **slope** is 1 for calibrated
# scores, below 1 for bold ones, above 1 for cautious ones. The order of the films, the AUC, knows
# nothing of all this. So, is the unleashed model bold?

# %%
slope = metrics.calibration_line(unleashed).slope
if slope.high < 1:
    verdict = "The interval lies below 1: it is bold."
elif slope.low > 1:
    verdict = "The interval lies above 1: even without its leash it is cautious."
else:
    verdict = "The interval does not leave out 1, so boldness is not shown."
sure = np.abs(unleashed.y_score - 0.5) > 0.4
right = np.mean((unleashed.y_score > 0.5)[sure] == (y_true == 1)[sure])
said = f"Of {sure.sum()} films scored below 0.1 or above 0.9, it calls {100 * right:.0f} % rightly."
display(Markdown(f"Slope **{slope:.2f}**. {verdict} {said}"))

# %% [markdown]
# Extreme scores are not the same as overconfident ones. Where the classes are easy to tell apart, most
# extreme scores are right, and deserved. Where the classes are hard to tell apart, a model that is so
# often sure is bold.
#
# ### Temperature: one number that repairs much
#
# Turn each score back into a logit, divide by a number *T*, turn it into a score again. *T* above 1
# pulls all scores towards one half, which calms a bold model; *T* below 1 pushes them apart, which
# encourages a cautious one. Which *T*? The one under which the truth of the films to choose on is
# least surprising: the smallest log loss. This is *temperature scaling*, and we do it to our own, first
# model.

# %%
logit = np.log(choose.y_score / (1 - choose.y_score))
temperatures = np.geomspace(0.05, 20, 500)
p_ill = 1 / (1 + np.exp(-logit / temperatures[:, None]))  # (500, films)
p_truth = np.where(choose.y_true == 1, p_ill, 1 - p_ill)
losses = -np.log(p_truth).mean(axis=1)
by_hand = temperatures[losses.argmin()]

temperature = metrics.fit_temperature(choose)
step = temperatures[1] / temperatures[0]  # our grid is as fine as this
assert 1 / step <= temperature.value / by_hand <= step

# %% tags=["nbval-check-output"]
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(temperatures, losses, color="#0072B2")
ax.plot(by_hand, losses.min(), "o", color="#D55E00", label=f"least surprise: T = {by_hand:.2f}")
ax.axvline(1, color="#767676", ls=":", label="T = 1: as it is")
ax.set(xscale="log", xlabel="temperature T", ylabel="log loss", ylim=(0, 2 * losses[-1]))
ax.legend(frameon=False)
plots.show(fig, alt=f"The log loss is smallest at a temperature of {by_hand:.2f}.")

# %% tags=["nbval-check-output"]
calibrated = temperature.apply(judge)
before, after = metrics.brier(judge).score, metrics.brier(calibrated).score
assert metrics.auc(calibrated).value == metrics.auc(judge).value
gain = before.value - after.value
verdict = "better" if gain > 0.002 else "worse" if gain < -0.002 else "hardly a change"
display(
    Markdown(
        f"On the films to judge on, the Brier score goes from **{before.value:.3f}** to "
        f"**{after.value:.3f}**: {verdict}. The AUC stays, to the last digit."
    )
)

# %% [markdown]
# Every score moved, and no two films changed places. Since one half stays one half, not a single
# call at 0.5 changed either. What *T* cannot mend is a *shift*: no *T* moves one half. If all
# scores are too high or too low, say because the model learned where the disease was commoner, an
# intercept has to be added as well. Expect that at every new hospital. A lower Brier score says better
# than before; it does not say calibrated.

# %% [markdown]
# ## 8. More good than harm? The decision curve
#
# A number such as an AUC does not say whether using the network *helps*. Think of a doctor who acts
# (examines, treats) from a risk of 20 % on. She accepts four false alarms for each ill person
# found; so to her, a false alarm does a quarter of the harm that finding an ill person does good.
# Count the good and subtract the harm: the **net benefit**.

# %%
risk, ill = 0.2, calibrated.y_true == 1
acts = calibrated.y_score >= risk  # as if the scores were risks: draw their reliability first
good, harm = np.mean(acts & ill), np.mean(acts & ~ill)
net_benefit = good - harm * risk / (1 - risk)

curve = metrics.decision_curve(calibrated)
np.testing.assert_allclose(net_benefit, curve.loc[np.isclose(curve["threshold"], risk), "model"])

# %% [markdown]
# Now for every risk from which somebody might act, beside two rivals that need no network: act on
# everyone, and act on no one.

# %%
rival = np.maximum(curve["all"], curve["none"])
above = int((curve["model"] > rival + 1e-9).sum())
ax = plots.plot_decision_curve(curve)
ax.set_xlim(0, 0.9)
plots.show(ax.figure, alt=f"Above both rivals at {above} of {len(curve)} thresholds.")

# %% [markdown]
# The band is the interval of the model's net benefit by itself. It is *not* the test of the model's
# lead: rivals are judged on the same patients, and with other patients both curves would move together.
# So take the lead itself, the model's net benefit less that of the better rival, and draw the patients
# again and again (a bootstrap).

# %%
def lead_at(risk):
    """Return the model's lead over the better rival, for those who act from this risk on."""
    acts, price = calibrated.y_score >= risk, risk / (1 - risk)
    good_of_all = ill - price * ~ill  # what each patient adds if all are treated
    adds = np.transpose([acts * good_of_all, good_of_all, np.ones(len(ill))])
    return metrics.bootstrap(
        lambda sums: (sums[:, 0] - np.maximum(sums[:, 1], 0)) / sums[:, 2],
        adds, calibrated.patient_ids)  # fmt: skip


# %%
leads = [lead_at(risk) for risk in curve["threshold"]]
np.testing.assert_allclose([lead.value for lead in leads], curve["model"] - rival, atol=1e-9)
surely = sum(lead.low > 1e-9 for lead in leads)
display(
    Markdown(
        f"The model does more good than either rival at **{above}** of {len(curve)} thresholds. At "
        f"**{surely}** of them the whole interval of its lead lies above zero."
    )
)

# %% [markdown]
# Look only at thresholds that somebody would really use, and at the interval of the lead: where it
# reaches zero, the benefit is not shown. At very low thresholds hardly anything beats acting on
# everyone: whoever would act on the slightest suspicion needs no test. And like the PPV, the
# benefit holds at one prevalence, here that of our set. Where fewer are ill the curve is another.
#
# ### Exercise: from which risk would you act?
#
# A physician says: "I would rather give **nine** people a needless antibiotic than leave **one**
# pneumonia untreated." From which risk on does she act? Give the threshold probability, to two
# decimals.

# %% tags=["exercise"]
# solution: begin
act_from = 1 / (1 + 9)
# solution: end
exercises.check("04-act", act_from)
# exercises.hint("04-act")  # take away the first # for a hint

# %% [markdown]
# With scores that are calibrated where they are used, this *is* the threshold: no search is needed.
# That is the quiet reason why calibration matters.
#
# ## 9. The errors, one by one
#
# No table replaces looking. Here are the ill people with the lowest scores and the healthy ones
# with the highest, among those who were called wrongly. Where the data set knows the lesion, it is
# outlined.

# %%
order = np.argsort(judge.y_score, kind="stable")
wrong = order[(judge.predicted(threshold.value) != judge.y_true)[order]]
missed, alarmed = wrong[judge.y_true[wrong] == 1][:4], wrong[judge.y_true[wrong] == 0][::-1][:4]
known = studies.set_index("image_id")
rows = {kind: known.loc[judge.ids[at]].reset_index() for kind, at in
        (("missed", missed), ("alarmed", alarmed))}  # fmt: skip
place = {name: k for k, name in enumerate(data.ids)}

# %%
fig, axes = plt.subplots(2, 4, figsize=(6.6, 3.5), layout="constrained")
alt = "Above, ill films that were missed; below, healthy films that raised an alarm."
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
# For each one ask, in this order: Is the *label* right? (In real sets people made the *ground
# truth*; in the sample a program drew it.) Is the *film* right (exposure, rotation, something lying
# on the patient)? Would *I* have seen it? And only then: what did the network not learn? Errors
# with one thing in common are worth more than a hundred random ones. The table shows what is known
# of the missed; look for the thing in common. (One or two films cannot show one: then ask the same
# of the alarmed.)
#
# For the sample: *pattern* says how the disease spreads. *Lobar* fills a lobe, *bronchopneumonia* makes
# patches, *interstitial* a fine net in both lungs. *Grade* says how strongly the disease was drawn, not
# how hard it is to see. A *distractor* is something harmless in the film, such as an electrode.

# %% tags=["nbval-check-output"]
facts = ["view", "pattern", "grade", "distractor"]
facts = [name for name in facts if name in rows["missed"]]
if facts and len(missed):
    display(rows["missed"][facts].fillna("").style.hide())
else:
    print("This data set tells nothing more about the missed films than their label.")

# %% [markdown]
# Be honest at the third question. Some lesions escape people too: the subtle ones, and those behind the
# heart or below the dome of the diaphragm. Others anyone can see, and only the network missed them. Those
# teach most. If the missed films share a side, a view or a hospital, the model may fail a group. But a
# handful of films can only suggest what to count next.

# %% [markdown]
# ## 10. The same for everyone? Subgroups
#
# A good mean can hide a group that is served badly. So take the same measures by group: sex, age,
# view, site, severity, whatever the data set knows. One attribute every set has, because we compute
# it from the pixels: is the film brighter or darker than most?

# %%
brightness = data.images.mean(axis=(1, 2))
groups = pd.DataFrame({"film": np.where(brightness > np.median(brightness), "brighter", "darker")})
for name in ("sex", "view", "site"):
    if name in studies and len(set(studies[name])) > 1:
        groups[name] = studies[name].to_numpy()
if "age" in studies:
    groups["age"] = metrics.age_bands(studies["age"])
if "subtle" in set(studies.get("grade", ())):  # the sample's words; elsewhere a grade may be a number
    grade = studies["grade"].where(studies["label"] == data.classes[1])
    groups["lesion"] = pd.Categorical(grade, ["subtle", "moderate", "gross"], ordered=True)
absent = sorted({"sex", "view", "site", "age", "lesion"} - set(groups.columns))

# %% tags=["nbval-check-output"]
if absent:
    print(f"This data set does not know: {', '.join(absent)}. Nobody can check these groups on it.")
report = metrics.subgroups(predictions, groups, threshold=threshold)
ax = plots.plot_subgroups(report, metric="auc")
ax.set_xlim(0.3, 1.02)
plots.show(ax.figure, alt=f"AUC with its interval in {len(groups.columns)} groupings of the films.")

# %% [markdown]
# The AUC needs no threshold, so it may use all films. A hollow mark means that fewer than 20 films
# of the smaller class stand behind it: it is shown, and nothing should be concluded from it. Where
# the lesions are graded, the row of the subtle ones would tell most, if there were enough of them (each
# grade is compared with all healthy films). One expects the gross ones to be the easy part; see whether
# they are. A subtle lesion in the open can be easier than a gross one behind the heart.
#
# For the sensitivity we need a threshold, so only the patients to judge on may speak, and they are
# fewer. The gap is the group's sensitivity minus the reference's, which is the largest group:

# %% tags=["nbval-check-output"]
on_judge = groups[parts == "test"].reset_index(drop=True)
strict = metrics.subgroups(judge, on_judge, threshold=threshold)
gaps = strict.gaps[strict.gaps["metric"] == "sensitivity"].dropna(subset=["low"])
shown = pd.DataFrame({
    "group": gaps["attribute"] + ": " + gaps["group"] + " against " + gaps["reference"],
    "gap": [f"{g.value:+.2f} ({g.low:+.2f} to {g.high:+.2f})" for g in gaps.itertuples()],
    "say": np.where(gaps["warning"] == "", "", "too small"),
})  # fmt: skip
shown.style.hide()

# %% tags=["nbval-check-output"]
beyond = int(((gaps["low"] > 0) | (gaps["high"] < 0)).sum())
display(
    Markdown(
        f"Gaps in sensitivity in this table: {len(gaps)}. Gaps whose interval leaves out 0: "
        f"**{beyond}**. Among 20 comparisons in which nothing is going on, about one does so by "
        "chance."
    )
)

# %% [markdown]
# Two mistakes threaten here, and they pull in opposite directions. One is to find a "significant"
# group by looking at enough of them. The other is to read "no difference shown" as "no
# difference": with so few people even a large gap hides in its interval. The honest sentence is
# often: *too small to say; measure more of them.* Chapter [6. Ethics](/notebooks/06_ethics.ipynb)
# goes on from here.
#
# ## 11. All of it on one page
#
# What this notebook built piece by piece, `reports.write_report` puts on one page for those who
# were not here: the numbers with their intervals, the figures, the subgroups and the warnings.

# %% tags=["nbval-check-output"]
known = studies.drop(columns="severity", errors="ignore")  # a number; we have shown its grades
with tempfile.TemporaryDirectory() as folder:
    reports.write_report(judge, folder, threshold=threshold, studies=known, prevalence=0.05)
    print(*sorted(path.name for path in Path(folder).iterdir()))

# %% tags=["headline", "nbval-check-output"]
names = ["sensitivity", "specificity", "ppv", "npv", "accuracy", "auc"]
said = ", ".join(f"{name} {result[name]:.2f}" for name in names)
display(
    Markdown(
        f"**{len(judge)} films of {judge.n_patients} patients**, threshold "
        f"{threshold.value:.2f}: {said}."
    )
)
for warning in result.warnings:
    print("warning:", warning)

# %% [markdown]
# The same from the command line, for a network that `fit` kept:
# `python -m medimg evaluate --model runs/latest/model.safetensors --out report`. Scores that another
# program made go into `metrics.Predictions` and from there to `write_report`, as above.
#
# ## Key points
#
# - Ask "of whom?" Sensitivity and specificity start from the truth, PPV and NPV from the result.
# - The AUC is the chance that an ill person scores higher than a healthy one. It knows the order of
#   the scores and nothing else.
# - No number without its interval: Wilson's for shares, DeLong's for the AUC, and by patient.
# - Choose the threshold on other patients than you judge on, by a rule that says what is worse.
# - A PPV holds at one prevalence only. Count a thousand people.
# - Scores are probabilities only if calibrated; a temperature repairs boldness or caution, not a
#   shift.
# - Look at the errors, and at the groups; say when a group is too small to say.
#
# ## Further reading
#
# - Hanley and McNeil, *The meaning and use of the area under a receiver operating characteristic
#   (ROC) curve*, Radiology 1982,
#   [doi:10.1148/radiology.143.1.7063747](https://doi.org/10.1148/radiology.143.1.7063747)
# - DeLong, DeLong and Clarke-Pearson, *Comparing the areas under two or more correlated receiver
#   operating characteristic curves*, Biometrics 1988,
#   [doi:10.2307/2531595](https://doi.org/10.2307/2531595)
# - Brown, Cai and DasGupta, *Interval estimation for a binomial proportion*, Statistical Science
#   2001, [doi:10.1214/ss/1009213286](https://doi.org/10.1214/ss/1009213286): why Wilson's
# - Gigerenzer et al., *Helping doctors and patients make sense of health statistics*, Psychological
#   Science in the Public Interest 2007,
#   [doi:10.1111/j.1539-6053.2008.00033.x](https://doi.org/10.1111/j.1539-6053.2008.00033.x)
# - Van Calster et al., *Calibration: the Achilles heel of predictive analytics*, BMC Medicine 2019,
#   [doi:10.1186/s12916-019-1466-7](https://doi.org/10.1186/s12916-019-1466-7)
# - Vickers and Elkin, *Decision curve analysis*, Medical Decision Making 2006,
#   [doi:10.1177/0272989X06295361](https://doi.org/10.1177/0272989X06295361)
#
# ## Next step
#
# [5. Explain](/notebooks/05_explain.ipynb) asks where the network looked, and whether the answer to
# that can be believed.

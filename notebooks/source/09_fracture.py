# %% [markdown]
# # 9. Bone fracture: small lesions, several views, and what the table tells
#
# {{badges}}
#
# **You will be able to**
#
# - measure what image resolution does to large and to small lesions;
# - score a study of several views instead of single images;
# - find out how much of a result needs no image at all, and remove it by matching;
# - find test images that are copies of training images.
#
# **You need first:** [3. Fine-tune](/notebooks/03_finetune.ipynb) and
# [4. Evaluate](/notebooks/04_evaluate.ipynb).
#
# {{contract}}
#
# {{solutions}}

# %% [markdown]
# ## 1. The clinical question
#
# A patient has fallen, and the wrist hurts. **Is a bone broken?** In an emergency department, the first
# to answer is often not a radiologist. In a Dutch hospital at least 289 of 25,957 fractures were missed
# at first; 9.3 % of the patients with a missed fracture needed surgery ([Mattijssen-Horstink et al.,
# 2020](https://doi.org/10.1186/s13049-020-00727-8)). A false alarm costs a cast, another examination, and
# days off work.
#
# A fracture may be a line one pixel wide. And a study has several views, because a break can be invisible
# in one, or at first in all, as are about 15 % of breaks of the scaphoid, a small bone of the wrist
# ([scaphoid review](https://doi.org/10.1302/2633-1462.52.BJO-2023-0119.R1)).

# %%
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medimg import datasets, errors, exercises, explain, images, metrics, models, plots
from medimg import sources, training

wanted = datasets.choose("sample_fracture", "fracatlas")  # for section 9

# %% [markdown]
# ## 2. The data and their traps
#
# `sample_fracture` has simulated radiographs of wrists and lower legs, drawn by formulas. Half of the
# studies have a fracture: displaced (the ends have moved), or a hairline (they have not). Views are
# frontal, lateral (from the side) and oblique (in between). Sections 2 to 8 always use this set, because
# they need each fracture's kind and place.

# %% tags=["nbval-check-output"]
studies = datasets.load("sample_fracture")
print(f"{studies['study_id'].nunique()} studies of {studies['patient_id'].nunique()} patients")
pd.crosstab(studies["kind"], studies["visible"])

# %% [markdown]
# The label belongs to the **study**: every view of a broken wrist is labelled *fracture*, even one that
# does not show it. (*Visible* is known because the break was drawn.) Below, two views each of a hairline
# and of a displaced fracture.

# %% tags=["hide-input", "nbval-check-output"]
views = studies[studies["view"].ne("oblique") & studies["cast"].eq("no")]
seen = views.groupby("study_id")["visible"].agg("-".join)
kinds = views.groupby("study_id")["kind"].first()
first = [seen.index[(kinds == kind) & (seen == how)][0]
         for kind, how in (("hairline", "yes-no"), ("displaced", "yes-yes"))]
shown = views[views["study_id"].isin(first)].sort_values(["kind", "view"], ascending=[False, True])
pictures = [images.read_image(path) for path in shown["path"]]
titles = [f"{row.kind}, {row.view}: visible {row.visible}" for row in shown.itertuples()]
plots.show(plots.plot_grid(pictures, columns=2, titles=titles),
           alt="A thin dark line across a bone in one view only; a displaced fracture in both.")

# %% [markdown]
# ## 3. Small lesions and resolution
#
# Most pretrained networks were trained at 224 pixels. We give the same frozen network the same images at
# 112, 224 and 448 pixels, and train the same logistic regression each time. Each study is scored by
# models that never saw its patient.

# %%
recipe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))


def cross_validate(x, table, positive="fracture"):
    """Predict each image with a model that saw no image of its patient."""
    y = table["label"].eq(positive).to_numpy().astype(int)
    score = np.zeros(len(y))
    for train, test in training.patient_folds(y, table["patient_id"]):
        score[test] = recipe.fit(x[train], y[train]).predict_proba(x[test])[:, 1]
    return metrics.Predictions(table["image_id"], y, score, table["patient_id"])

# %%
net = models.build_model("efficientnet_lite0")
features, by_study = {}, {}
for size in (112, 224, 448):
    data = datasets.decode(studies, size=size)
    features[size] = training.extract_features(net, data.images)
    by_study[size] = cross_validate(features[size], studies).aggregate(studies["study_id"])

# %% [markdown]
# For a fair comparison every size gets the threshold at which its specificity is 80 %. How many fractures
# of either kind does it then find? (The threshold is chosen on the scores it is used on: enough to
# compare sizes.)

# %%
kind = studies.drop_duplicates("study_id")["kind"]


def sensitivity(predictions, which):
    """Return the share of fractures of one kind that are found at a specificity of 80 %."""
    cut = metrics.choose_threshold(predictions, rule="specificity", floor=0.8)
    rows = kind.isin(["none", which]).to_numpy()
    return metrics.rates(predictions.subset(rows), threshold=cut)["sensitivity"]


found = pd.DataFrame({which: {size: sensitivity(each, which) for size, each in by_study.items()}
                      for which in ("displaced", "hairline")})
found.map("{:.2f}".format)

# %% tags=["hide-input"]
value, low, high = (found.map(lambda share, part=part: getattr(share, part)).astype(float)
                    for part in ("value", "low", "high"))
ax = value.plot(style=["o-", "s--"], figsize=(6, 3.6), logx=True, ylim=(0, 1), xlim=(100, 500),
                xlabel="image size in pixels", ylabel="sensitivity, 95 % interval")
ax.set_xticks(value.index, value.index)
ax.minorticks_off()
for name in found:
    ax.fill_between(value.index, low[name], high[name], alpha=0.15)
plots.show(ax.figure,
           alt=f"Sensitivity from {value.index[0]} to {value.index[-1]} pixels: " + "; ".join(
               f"{which} {of.iloc[0]:.2f} to {of.iloc[-1]:.2f}"
               for which, of in value.items()) + ".")

# %% tags=["nbval-check-output"]
print("at 448 pixels, more of the displaced than of the hairline:",
      value.loc[448, "displaced"] > value.loc[448, "hairline"])

# %% [markdown]
# A hairline two to four pixels wide at 448 is at most one wide at 112 and is averaged away. Yet what
# either kind gains is small beside the intervals: this sample does not prove it. A displaced fracture
# also has a cast or metal more often (section 4). 448 pixels take four times as long as 224.
#
# ## 4. What the table tells without an image
#
# What can the columns alone tell: body part, view, number of views, cast, metal? None of them is a
# fracture; cast and metal are often known only from the image. The same logistic regression gets these,
# and no pixel.

# %%
columns = ["body_part", "view", "views", "cast", "metal"]
known = pd.get_dummies(studies[columns].astype(str)).to_numpy(float)
told = cross_validate(known, studies).aggregate(studies["study_id"])
pixels = by_study[448]
table = pd.Series({"columns alone": metrics.auc(told), "image alone": metrics.auc(pixels)})
table.map("{:.2f}".format)

# %% tags=["nbval-check-output"]
print("the columns alone beat chance:", table["columns alone"].low > 0.5)

# %% [markdown]
# Here, wrists are broken more often than legs, a third view is taken when the first two raise a suspicion,
# and a cast or a plate means that somebody has already treated the patient. A network sees the cast, too.
#
# ### Exercise: known before or known after?
#
# The network is meant to help at the **first** examination after a fall. Which of these columns are
# legitimate inputs, known before the diagnosis and not a result of it? Submit a list of letters: **a**
# body part, **b** cast, **c** age, **d** metal plate over the fracture, **e** an oblique view that the
# doctor ordered after seeing the other two.

# %% tags=["exercise"]
# solution: begin
harmless = ["a", "c"]
# solution: end
exercises.check("09-columns", harmless)
# exercises.hint("09-columns")  # remove the first # to see a hint

# %% [markdown]
# ## 5. Compare like with like
#
# For each study with a fracture we take one without, with the same columns. In such **matched** pairs the
# columns tell nothing; what is left comes from the image.

# %%
heads = studies.drop_duplicates("study_id").reset_index(drop=True)
pairs = []
for _, alike in heads.groupby(["body_part", "views", "cast", "metal"]):
    broken, whole = (alike.index[alike["label"].eq(label)] for label in ("fracture", "normal"))
    pairs += list(zip(broken, whole, strict=False))  # as many as the smaller group
rows = np.array(pairs).ravel()
matched = pd.DataFrame({
    name: {"all studies": metrics.auc(each), "pairs": metrics.auc(each.subset(rows))}
    for name, each in (("columns", told), ("image", pixels))})
matched.map("{:.2f}".format)

# %% tags=["nbval-check-output"]
left = matched.loc["pairs"]
print(f"{len(pairs)} pairs; columns no better than guessing:", left["columns"].low < 0.5)
print("the image still better than guessing:", left["image"].low > 0.5)

# %% [markdown]
# Badgeley and colleagues did this with 17,587 real hip radiographs. Their network reached an AUC of 0.78;
# matched for patient variables 0.67; matched for the acquisition (how the image was made) too, 0.52 (0.46
# to 0.58), which is chance. It recognised the scanner model with an AUC of 1.00 ([Badgeley et al.,
# 2019](https://doi.org/10.1038/s41746-019-0105-1)). Matching belongs to the test, not to the training. It
# left out half of our fractures, most with a cast or metal: part of the fall may be case mix.
#
# ## 6. Several views, one answer
#
# The doctor needs one answer per study. Two simple rules: the **mean** of its images, or their
# **maximum** (one view is enough to find a break).

# %%
single = cross_validate(features[448], studies)
rules = {"each image": single} | {how: single.aggregate(studies["study_id"], how=how)
                                  for how in ("mean", "max")}
pd.DataFrame({name: {"scores": len(each), "AUC": f"{metrics.auc(each):.2f}"}
              for name, each in rules.items()}).T

# %% [markdown]
# Which rule is better depends on the errors. The maximum finds what one view alone shows, but every
# further view is another chance of a false alarm: studies with three views score higher for no reason in
# the bone. Choose the rule on validation data, then the threshold **for that rule**.
#
# ## 7. Test images that are training images
#
# In one public set of radiographs (of welds), all 2,443 test images were copies of training images, byte
# for byte ([RIAWELC](https://github.com/stefyste/RIAWELC/issues/2)). We build such a set: new names, new
# folders.

# %% tags=["nbval-check-output"]
public = Path(tempfile.mkdtemp())
pool = studies[studies["view"].ne("oblique")].groupby("label").head(60).reset_index(drop=True)
row = np.arange(len(pool))
for split, chosen in (("train", row % 3 != 0), ("test", row % 5 == 0)):
    for number, file in enumerate(pool[chosen].itertuples()):
        place = public / split / file.label / f"{split}_{number:03d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file.path, place)
copied = datasets.load(public)
print(datasets.summary(copied))

# %% [markdown]
# `decode`, and so every training, refuses such a set:

# %% tags=["nbval-check-output"]
try:
    datasets.decode(copied, size=64)
except errors.StudyTableError as error:
    print(str(error).split(":")[0])

# %% [markdown]
# ### Exercise: how much of the test is a copy?
#
# `copied` has the columns `path` and `split`. What **share of the test images** is byte for byte the
# same as an image of another split? (`Path(path).read_bytes()` gives the bytes of a file.)

# %% tags=["exercise"]
# solution: begin
content = copied["path"].map(lambda path: Path(path).read_bytes())
is_test = copied["split"] == "test"
share = content[is_test].isin(content[~is_test]).mean()
# solution: end
exercises.check("09-copies", share, table=copied)
# exercises.hint("09-copies")  # remove the first # to see a hint

# %% [markdown]
# ### Exercise: mend the set
#
# Make a table `clean` from `copied` that `decode` accepts: keep all test images, and leave out only the
# others that repeat one.

# %% tags=["exercise"]
# solution: begin
content = copied["path"].map(lambda path: Path(path).read_bytes())
held = copied["split"] == "test"
clean = copied[held | ~content.isin(content[held])]
# blank: clean = ...
# solution: end
exercises.check("09-clean", clean, table=copied)
# exercises.hint("09-clean")  # remove the first # to see a hint

# %% [markdown]
# Equal bytes are the easy case. An image saved again or cropped has other bytes; only patient
# identifiers, or a search for similar images, would find it.
#
# ## 8. Where did it look?
#
# We train the last layer on the training images at 448 pixels, whose features we have. Does the hottest
# point of the map lie on the break, in test images that show one?

# %%
model = models.build_model("efficientnet_lite0", classes=data.classes)
learn = studies["split"].eq("train").to_numpy()
training.linear_probe(features[448][learn], data.labels[learn], C=0.01).load_into(model.head)
target = studies["split"].eq("test") & studies["visible"].eq("yes")
films, masks = data.images[target], datasets.decode_masks(studies[target], size=448)
heat = explain.explain(model, films, method="gradcam", target="fracture")
print(explain.pointing_game(heat, masks, patient_ids=data.patients[target]))

# %% tags=["hide-input"]
largest = pd.Series(masks.sum(axis=(1, 2))).sort_values(ascending=False).index
of_study = studies["study_id"][target].to_numpy()[largest]
order = largest[~pd.Index(of_study).duplicated()][:3]  # one view per study
titles = list(studies["kind"][target].iloc[order])
plots.show(plots.plot_map_grid(films[order], {"Grad-CAM": np.asarray(heat)[order]},
                               masks=masks[order], titles=titles),
           alt="Three fractures, outlined; small spots of the maps lie away from the break.",
           colours=256)

# %% [markdown]
# Chance is the share of the image that the breaks cover, which is tiny. One cell of this map is 32 pixels
# wide: it can say "this part of the limb" at best.
#
# ## 9. Real images
#
# `python -m medimg fetch fracatlas` brings about 4,000 real radiographs (338 MB). Start Jupyter with
# `MEDIMG_DATASET=fracatlas` (and `MEDIMG_DATA`, if they lie elsewhere), and the next cell asks the
# question of section 4 of all of them, and that of section 3 of 300. A draw of 300 images is weak
# evidence. The set names no patients, so scores may be too
# high, and intervals are too narrow.

# %% tags=["hide-input"]
if wanted == "fracatlas":
    tables = [sources.data_root() / folder / "studies.csv" for folder in ("fracatlas", "")]
    real = datasets.load(next(filter(Path.exists, tables), wanted))
    flags = ["hand", "leg", "hip", "shoulder", "hardware", "multiscan", "frontal", "lateral",
             "oblique"]
    asked = {"columns alone": cross_validate(real[flags].to_numpy(float), real, "fractured")}
    few = real.groupby("label").sample(150, random_state=0).reset_index(drop=True)
    for size in (112, 224, 448):
        films = datasets.decode(few, size=size, keep_aspect=True, allow_duplicates=True).images
        x = training.extract_features(net, films)
        asked[f"{size} pixels, 300 images"] = cross_validate(x, few, "fractured")
    print(*(f"{name}: AUC {metrics.auc(each):.3f}" for name, each in asked.items()), sep="\n")

# %% [markdown]
# If the columns alone beat chance there, part of the network's result may need no fracture. Only matching
# shows how much.
#
# ## 10. What stands in the way of use
#
# - **The operating point.** A network for hip fractures had an AUC of 0.994 at home and 0.980 in another
#   country, but its threshold did not fit there. An audit found that it missed an obvious fracture and
#   failed on bones altered by Paget's disease ([Oakden-Rayner et al.,
#   2022](https://doi.org/10.1016/S2589-7500%2822%2900004-8)).
# - **The label.** In MURA, 40,561 images from shoulder to finger, metal and worn joints are *abnormal*, too.
#   Its baseline reached an AUC of 0.929 ([Rajpurkar et al., 2017](https://arxiv.org/abs/1712.06957)).
#   That is not a score for fractures.
# - **The reader.** OsteoDetect was authorised in 2018 to help clinicians find breaks of the distal radius
#   (the forearm bone, at the wrist) in adults. Alone it reached sensitivity 0.921 and specificity 0.902.
#   With it, 24 readers found 0.803 of the fractures instead of 0.747
#   ([DEN180005](https://www.accessdata.fda.gov/cdrh_docs/reviews/DEN180005.pdf)).
# - **Our sample** is drawn by formulas, without old breaks or second fractures. It shows what resolution, views, columns and copies do to a result, not how well a network reads
#   patients.
#
# ## Key points
#
# - Compare the size that the network receives with the smallest lesion that matters.
# - Score the study, with a rule and a threshold chosen on validation data.
# - Fit a model to the columns first: this much needs no image. Then compare matched studies.
# - What is known only after the diagnosis (cast, metal, further views) must not help.
# - Look for copies before you train: `decode` refuses equal files in two splits.
#
# ## Further reading
#
# - [Abedeen et al. 2023](https://doi.org/10.1038/s41597-023-02432-4): FracAtlas
# - [Badgeley et al. 2019](https://doi.org/10.1038/s41746-019-0105-1): matching patients and machines
# - [Oakden-Rayner et al. 2022](https://doi.org/10.1016/S2589-7500%2822%2900004-8): an audit of a network for hips
#
# ## Next step
#
# [10. COVID-19](/notebooks/10_covid.ipynb): when the label is the hospital.

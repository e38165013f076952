# %% [markdown]
# # 8. Diabetic retinopathy: grades, two eyes, and a threshold for referral
#
# {{badges}}
#
# **You will be able to**
#
# - train a network on colour photographs without distorting them;
# - measure ordered grades with quadratic kappa, and turn grades into a decision to refer;
# - score a person instead of an image, and treat an ungradable photograph as a result;
# - work out what a positive result means in a screening programme.
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
# Diabetes damages the small vessels of the retina. At first the patient notices nothing, and early
# treatment can save sight. So people with diabetes are screened with photographs of the back of the eye.
# About 22 % of them have some retinopathy, and about 6 % have a form that threatens sight ([Teo et al.,
# 2021](https://doi.org/10.1016/j.ophtha.2021.04.027)). The question is not "which disease?" but **"does
# this person need to see an ophthalmologist?"**
#
# Retinopathy is graded on the International Clinical Diabetic Retinopathy scale:
#
# | grade | name | what is seen |
# |---|---|---|
# | 0 | none | nothing |
# | 1 | mild | microaneurysms only: small red dots |
# | 2 | moderate | more than microaneurysms, less than grade 3 |
# | 3 | severe | over 20 haemorrhages in each quadrant, or beaded veins in two, or abnormal small vessels in one |
# | 4 | proliferative | new vessels, or bleeding in front of the retina or into the vitreous, the gel behind the lens |
#
# *Referable* means grade 2 or more. One guideline sends grade 2 within three to six months, grades 3 and
# 4 at once ([Table 4](https://pmc.ncbi.nlm.nih.gov/articles/PMC7942107/table/T4)). **Macular oedema**, a
# swelling at the centre of the retina, is referable too; our sample does not grade it. A flat photograph
# cannot show thickness, so programmes refer yellow deposits near the centre instead. In [one
# audit](https://iovs.arvojournals.org/article.aspx?articleid=2640397) half of those eyes had no fluid.
#
# A missed grade 4 can cost the sight of an eye. A needless referral costs a morning, and an appointment
# that somebody else needed.

# %%
import numpy as np
import pandas as pd
from IPython.display import display
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix

from medimg import datasets, exercises, explain, images, metrics, models, plots, training

dataset = datasets.choose("sample_retina", "idrid", "retinamnist")

# %% [markdown]
# ## 2. The data and their traps
#
# Offline we use `sample_retina`: 180 photographs of both eyes of 90 invented people, drawn by formulas.
# It shows how to work with colour, grades and pairs of eyes, not how well a network reads real eyes. For
# real ones, run `python -m medimg fetch idrid` (or `retinamnist`) and start Jupyter with
# `MEDIMG_DATASET=idrid`; they come without patients, quality and masks, so the exercise on both eyes
# needs the sample.

# %% tags=["nbval-check-output"]
studies = datasets.load(dataset)
grades = studies.get("grade", studies["label"])  # in some tables the label is the referral
studies = studies.assign(quality=studies.get("quality", "not stated"), label=grades.astype(str))
print(datasets.summary(studies))

# %% tags=["nbval-check-output"]
good = studies[studies["split"].eq("train") & studies["quality"].isin(["good", "not stated"])]
chosen = good.groupby("label").nth(2).sort_values("label")
pictures = [images.read_image(path, colour=True) for path in chosen["path"]]
fig = plots.plot_grid(pictures, columns=3, titles=[f"grade {grade}" for grade in chosen["label"]])
plots.show(fig, alt="One photograph of each grade, from clear to many haemorrhages and "
           "new vessels.")

# %% [markdown]
# Three traps:
#
# **Aspect ratio.** The photographs are not square, but networks take squares. Squeezing turns the round
# eye into an ellipse, differently for each camera: a shortcut. `keep_aspect=True` pads with black
# instead.
#
# **Two eyes of one person.** They look alike and often have the same grade. Both must be in the same
# split, and they count as one patient in every interval.
#
# **Image quality.** Some photographs are too hazy to read (cataract, small pupil). An eye that cannot be
# graded has not been screened.

# %% tags=["nbval-check-output"]
twins = dataset == "idrid"  # photographs that come twice, with two grades
data = datasets.decode(studies, size=192, channels=3, keep_aspect=True, allow_duplicates=twins)
train, val, test = (data.subset(split) for split in ("train", "val", "test"))
splits = studies.groupby("patient_id")["split"].nunique()
print(data)
print(f"{len(splits)} people, {int((splits > 1).sum())} of them in more than one split")

# %% [markdown]
# ## 3. A network for five grades
#
# The network is the pretrained EfficientNet-Lite0, now with three input channels and five outputs. With
# about a hundred training images, we solve only its last layer ([notebook
# 3](/notebooks/03_finetune.ipynb) compares strategies).

# %%
model = models.build_model("efficientnet_lite0", classes=data.classes, channels=3)
model = training.fit_head(model, train, val, C=0.003).model
validated, tested = (training.predict(model, part) for part in (val, test))

# %% [markdown]
# ## 4. How far off? Quadratic kappa by hand
#
# Accuracy treats all errors alike: grade 3 called 4 is as wrong as grade 0 called 4. Graders use
# **quadratic weighted kappa** instead: each pair of grades gets a penalty, the square of the distance.
# Kappa compares the mean penalty with that of two graders who use each grade as often, but independently:
# 1 is perfect, 0 is no better than chance.

# %% tags=["nbval-check-output"]
def quadratic_kappa(true, called, grades=5):
    """Return 1 - (observed penalty / penalty expected by chance)."""
    counts = confusion_matrix(true, called, labels=range(grades))
    penalty = np.subtract.outer(np.arange(grades), np.arange(grades)) ** 2
    by_chance = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    return 1 - (penalty * counts).sum() / (penalty * by_chance).sum()


true = [0, 1, 2, 3, 4]
for called in ([0, 1, 2, 3, 3], [0, 1, 2, 3, 2]):
    by_hand = quadratic_kappa(true, called)
    assert np.isclose(by_hand, cohen_kappa_score(true, called, weights="quadratic"))
    print(f"{called}: accuracy {accuracy_score(true, called):.2f}, kappa {by_hand:.2f}")

# %% [markdown]
# The same accuracy, but being off by two costs four times as much. Now the network, with intervals by
# patient:

# %%
report = metrics.evaluate(tested, ordinal=True)
by_hand = quadratic_kappa(tested.y_true, tested.predicted())
assert np.isclose(by_hand, report["kappa_quadratic"].value)
ax = plots.plot_confusion(report.confusion)
plots.show(ax.figure, alt=f"Confusion matrix: {np.trace(report.confusion)} of {len(tested)} get "
           f"their grade, {sum(np.trace(report.confusion, k) for k in (-1, 1))} the one beside it.")

# %%
rows = ["accuracy", "kappa_quadratic", "mean_absolute_error"]
display(report.table.loc[rows, ["value", "low", "high", "method"]].round(2))

# %% [markdown]
# Look at the interval of kappa: if it reaches 0, chance is not excluded. Kappa also depends on how common
# each grade is, so compare two systems only on the same images.
#
# ## 5. Refer or not
#
# A programme needs a decision. The probabilities of grades 2, 3 and 4 add up to the score for
# *referable*. Choose its threshold on the **validation** images: here, one that finds at least 85 % of
# the referable eyes. (IDx-DR, in section 6, had to find more than 85 %, by person.)

# %%
refer = {name: p.at_least(2) for name, p in (("val", validated), ("test", tested))}
threshold = metrics.choose_threshold(refer["val"], rule="sensitivity", floor=0.85)
by_eye = metrics.evaluate(refer["test"], threshold=threshold)
by_person = refer["test"].aggregate(test.patients, how="max")
by_person = metrics.evaluate(by_person, threshold=threshold)
shown = ["auc", "sensitivity", "specificity"]
display(pd.DataFrame({
    unit: {metric: f"{found[metric]:.2f}" for metric in shown}
    for unit, found in (("eyes", by_eye), ("people", by_person))}))

# %% [markdown]
# A *person* is referable when either eye is, so the person's score is the higher of the two. This changes
# both rates: two eyes are two chances to find disease, and two of a false alarm. For use, choose the
# threshold on people too. The intervals are wide.
#
# Ungradable photographs count here too, because the simulator knows their grade. In a real study they
# have none: report how many, and what was done with them.
#
# ### Exercise: a photograph that cannot be graded
#
# Write a function that decides for one person: refer when any eye scores at least the threshold, **or**
# when any eye is ungradable. `scores` is a list of numbers, `quality` a list of words of the same length.

# %% tags=["exercise"]
def decide(scores, quality, threshold):
    """Return True when this person should be seen by an ophthalmologist."""
    # solution: begin
    found = any(score >= threshold for score in scores)
    return found or "ungradable" in quality
    # solution: end


exercises.check("08-decide", decide)
# exercises.hint("08-decide")  # remove the first # to see a hint

# %% [markdown]
# ### Exercise: draw both eyes
#
# Draw one dot per person of the test split: the score of the **right** eye across, that of the **left**
# up, for *referable* (`refer["test"]`). The column `eye` of `studies` says which eye it is. Name both
# axes, and submit them.

# %% tags=["exercise"]
# solution: begin
scores = pd.Series(refer["test"].y_score, index=refer["test"].ids)
eyes = studies[studies["split"] == "test"].assign(score=lambda t: t["image_id"].map(scores))
wide = eyes.pivot(index="patient_id", columns="eye", values="score")
ax = wide.plot.scatter(x="right", y="left", figsize=(3.6, 3.6))
plots.show(ax.figure, alt="One dot per person: the scores of both eyes rise together.")
# blank: ax = ...
# solution: end
exercises.check("08-eyes", ax, studies=studies, scored=refer["test"])
# exercises.hint("08-eyes")  # remove the first # to see a hint

# %% [markdown]
# ## 6. From this set to a screening programme
#
# In our sample more than a third of the eyes are referable; in IDRiD, real photographs, 63 %. In
# screening it is usually lower (section 1: 6 to 22 %). Sensitivity and specificity may carry over, if
# the patients are alike: a set full of grade 4 is easier than a clinic full of grade 2. PPV does not.

# %%
for prevalence in (0.50, 0.10, 0.05):
    found = metrics.ppv_npv_at(prevalence, by_person["sensitivity"], by_person["specificity"])
    print(f"prevalence {prevalence:4.0%}: PPV {found.ppv:.2f}, NPV {found.npv:.2f}")

# %% [markdown]
# In 2018, IDx-DR was authorised in the United States to refer people without a doctor reading the images.
# Its trial took people without known retinopathy; 23.8 % had a referable eye. Sensitivity was 87.2 % and
# specificity 90.7 % ([Abràmoff et al., 2018](https://doi.org/10.1038/s41746-018-0040-6)). Where 10 %
# have it, about half of the referrals would be false alarms. (An NPV of 1.00 above means only that none
# of our few people was missed.)
#
# ### Exercise: how much does the colour tell?
#
# Train again **in grey**: decode with `channels=1`, build a network with one channel, fit its head with
# the same `C`, predict the test images, and submit the predictions. All else stays as above. (Both
# networks read the same images, so overlapping intervals settle nothing: compare them as pairs, as in
# [notebook 2](/notebooks/02_augment.ipynb).)

# %% tags=["exercise"]
# solution: begin
# blank: in_grey = ...  # decode, build, fit and predict, in grey
grey = datasets.decode(studies, size=192, channels=1, keep_aspect=True)
network = models.build_model("efficientnet_lite0", classes=grey.classes, channels=1)
network = training.fit_head(network, grey.subset("train"), grey.subset("val"), C=0.003).model
in_grey = training.predict(network, grey.subset("test"))
# solution: end
exercises.check("08-grey", in_grey, colour=tested)
# exercises.hint("08-grey")  # remove the first # to see a hint

# %% [markdown]
# ## 7. Where did it look?
#
# We know where each lesion is, so a map can be tested: is its brightest place inside one? We ask for the
# evidence for grade 4 in eyes of grade 3 or 4.

# %% tags=["hide-input"]
masks = (datasets.decode_masks(studies, size=192, keep_aspect=True) if "mask_path" in studies
         else np.zeros((len(data), 192, 192), bool))[data.splits == "test"]
sick = np.flatnonzero((test.labels >= 3) & (masks.any(axis=(1, 2)) | ~masks.any()))[:3]
plots.show(plots.plot_grid(test.images[sick], columns=3),
           alt="Three eyes of grade 3 or 4: bright exudates and dark spots, most of a few pixels.")
heat = explain.explain(model, test.images[sick], method="gradcam", target="4")
fig = plots.plot_map_grid(test.images[sick], {"Grad-CAM": heat}, masks=masks[sick])
plots.show(fig, alt="Grad-CAM for grade 4 on three eyes of grade 3 or 4: a coarse warm area or "
           "none, with the outlines of many small lesions.", colours=256)

# %% [markdown]
# The lesions are a few pixels wide, and one cell of the map is 32 pixels wide. A warm area says
# "somewhere here" at best. Where a map is empty, no place spoke for grade 4.
#
# ## 8. What stands in the way of use
#
# - **Evidence on people, not images.** The IDx-DR trial fixed its goals beforehand (sensitivity
#   above 85 %, specificity above 82.5 %) and enrolled 900 people in primary care. The reference
#   was a reading centre with wide-field stereo photographs and OCT, a scan that shows thickness.
# - **Ungradable eyes.** In that trial 96.1 % could be graded. Elsewhere, of 875 patients, 10.5 % gave
#   no photograph through an undilated pupil, and 26.1 % one that IDx-DR could not analyse
#   ([Hunfeld et al., 2026](https://doi.org/10.1038/s41598-026-36970-9)).
# - **Grades are opinions.** Graders differ, and the reference changes the result
#   ([Krause et al., 2018](https://doi.org/10.1016/j.ophtha.2018.01.034)).
# - **Other cameras, other people.** Seven systems were run on 311,604 photographs of 23,724
#   veterans: sensitivity ranged from 51.0 to 85.9 %
#   ([Lee et al., 2021](https://doi.org/10.2337/dc20-1877)).
# - **The clinic itself.** In eleven clinics in Thailand, conditions there, and not only the algorithm,
#   decided how well the system worked ([Beede et al., 2020](https://doi.org/10.1145/3313831.3376718)).
# - **Other diseases.** It looks for retinopathy only: glaucoma in the same photograph goes unreported.
# - **Our sample** has invented lesions on invented eyes. A good result here tests the code.
#
# ## Key points
#
# - Keep the aspect ratio and the colour, and split by person.
# - Grades have an order: report quadratic kappa and where the errors lie, not only accuracy.
# - Choose the referral threshold on validation images. Score the person: either eye decides.
# - An ungradable photograph is a result, and the safe one is to refer.
# - PPV belongs to a prevalence. Recompute it for the people who will be screened.
#
# ## Further reading
#
# - [Wilkinson et al. 2003](https://doi.org/10.1016/S0161-6420%2803%2900475-5): the grades
# - [Porwal et al. 2020](https://doi.org/10.1016/j.media.2019.101561): IDRiD
# - [Ipp et al. 2021](https://doi.org/10.1001/jamanetworkopen.2021.34254): the trial of EyeArt
#
# ## Next step
#
# [9. Bone fracture](/notebooks/09_fracture.ipynb): small lesions and several views.

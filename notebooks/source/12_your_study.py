# %% [markdown]
# # 12. Your study: from a question to a report that others can check
#
# {{badges}}
#
# **You will be able to**
#
# - write a protocol before you see a result, and prove that it did not change;
# - carry out a small study alone, from the audit to the test set;
# - report it with a model card and the items of TRIPOD+AI, and check your own report.
#
# **You need first:** [1. Load](/notebooks/01_load.ipynb) to
# [6. Ethics](/notebooks/06_ethics.ipynb). Here you write the code; the cells that are given only load,
# save and check.
#
# {{contract}}
#
# {{solutions}} They are one complete study, as an example; yours may look different.

# %% [markdown]
# ## 1. Choose the data
#
# By default you study the sample of simulated chest radiographs. To study another set, start Jupyter with
# `MEDIMG_DATASET` and `MEDIMG_DATA` ([the sets and their names](/README.md#real-images)), or, with your
# hospital's permission, [bring your own images](/notebooks/instructor/own-data.md).
#
# We divide the patients again, because the sample's own test split is small. The images are not new: other
# notebooks have used them, and a real study would report that as a limit. Your own set needs two classes,
# patient ids, and a column for subgroups.

# %%
import hashlib
import html
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import display

from medimg import datasets, exercises, explain, metrics, models, plots, reports, training

folder = Path(tempfile.mkdtemp())  # your study; choose a folder of your own to keep it

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(12)
studies = datasets.load(classes=2)
studies = datasets.subsample(studies, {"train": 400, "val": 200, "test": 400}, rng=rng)
studies = datasets.split_by_patient(studies, rng=rng, fractions=(0.5, 0.2, 0.3))
print(datasets.summary(studies))

# %% [markdown]
# ## 2. The protocol comes first
#
# If you may choose the measure, the threshold or the subgroups after you have seen the results, you will
# find something that looks good, even in noise. So a study says **beforehand** what it will measure, and on
# whom. Clinical trials register such a protocol in public. We save it and note its *checksum*: a number that
# changes if one letter changes. Print it and send it to somebody before you train: only then can others
# check that the protocol is older than the result.

# %%
def seal(protocol):
    """Save the protocol in the study's folder; return the checksum of the file."""
    text = json.dumps(protocol, indent=1, ensure_ascii=False)
    (folder / "protocol.json").write_text(text, encoding="utf-8")
    return hashlib.sha256((folder / "protocol.json").read_bytes()).hexdigest()


# %% [markdown]
# ### Exercise: write the protocol
#
# Write a dictionary with these entries, and seal it: `question` (who, what, compared with which reference
# standard), `intended_use` (who would do what with the result), `primary` (one measure), `threshold_rule`
# (and on which images), `subgroups` (a list of columns, such as `["sex", "view"]`), `success` (which
# result, interval included, would count as one), `limits` (what this study cannot show).
#
# Is your goal within reach? The sample's test split has 31 images, so an interval will be wide. For a
# real study, compute the number of patients first ([notebook
# 6](/notebooks/06_ethics.ipynb)).

# %% tags=["exercise"]
# solution: begin
protocol = {
    "question": "Does a frozen network tell simulated pneumonia from normal on one radiograph? "
                "The reference standard is what the simulator drew.",
    "intended_use": "None: this is an exercise.", "primary": "auc",
    "threshold_rule": "the highest with a sensitivity of at least 0.9 on the validation images",
    "subgroups": ["sex", "view"], "success": "the lower end of the AUC's interval is above 0.7",
    "limits": "Simulated patients from one real chest: nothing follows for a clinic.",
}
sealed = seal(protocol)
# blank: protocol = ...  # a dictionary with the seven entries
# blank: sealed = ...  # seal(protocol)
# solution: end
exercises.check("12-protocol", protocol, folder=folder, studies=studies)
# exercises.hint("12-protocol")  # remove the first # to see a hint

# %% [markdown]
# ## 3. Audit before you train
#
# Two questions, from [notebook 1](/notebooks/01_load.ipynb). Is any patient in two splits? Can the
# label be predicted without looking at the disease, from the header, the border or the size of the
# file? A shortcut that you know of is a limit to report. One that you do not know of is a false result.
#
# ### Exercise: audit
#
# Count the patients that are in more than one split. Run `datasets.audit_shortcuts` on the images that are
# **not** in the test split: the audit reads labels, and of the test set we know only the counts yet. Submit
# both as a list.

# %% tags=["exercise"]
# solution: begin
torn = int(studies.groupby("patient_id")["split"].nunique().gt(1).sum())
audit = datasets.audit_shortcuts(studies[studies["split"] != "test"])
# blank: torn = ...  # patients in more than one split
# blank: audit = ...  # the table of shortcuts
# solution: end
exercises.check("12-audit", [torn, audit], studies=studies)
# exercises.hint("12-audit")  # remove the first # to see a hint

# %% [markdown]
# ## 4. Train
#
# One network, chosen beforehand. A frozen EfficientNet with a fitted head takes seconds. In notebook 3
# fine-tuning had a lower loss; your test set is too small to decide whether that pays. If you want to compare
# several recipes, compare them on the validation images, and say in the report how many you tried.
#
# ### Exercise: train without the test images
#
# Decode the images, fit the head with the training images, and submit what `training.fit_head` returns.

# %% tags=["exercise"]
# solution: begin
data = datasets.decode(studies, size=160)
train, val, test = (data.subset(split) for split in ("train", "val", "test"))
network = models.build_model("efficientnet_lite0", classes=data.classes)
trained = training.fit_head(network, train, val, class_weights="balanced")
# blank: data = ...  # decode, and divide into train, val and test
# blank: trained = ...
# solution: end
exercises.check("12-train", trained, data=data)
# exercises.hint("12-train")  # remove the first # to see a hint

# %% [markdown]
# ## 5. Test, once
#
# Everything is fixed now: network, rule, measure, subgroups. The next cell uses the test images, and it may
# do so once. If you run it, change something and run it again, you have a second validation set and no test
# set.
#
# ### Exercise: the one evaluation
#
# Choose the threshold by your rule on the **validation** images. Write the report on the **test** images
# with `reports.write_report(..., folder, threshold=..., studies=...)`, and submit what it returns.

# %% tags=["exercise"]
# solution: begin
validated, tested = (training.predict(trained.model, part) for part in (val, test))
threshold = metrics.choose_threshold(validated, rule="sensitivity", floor=0.9)
report = reports.write_report(tested, folder, threshold=threshold, studies=studies)
print("AUC:", report.evaluation["auc"])
# blank: threshold = ...  # chosen on validation images
# blank: report = ...
# solution: end
exercises.check("12-test", report, studies=studies)
# exercises.hint("12-test")  # remove the first # to see a hint

# %% [markdown]
# Print the primary measure (`report.evaluation["auc"]`) and compare it with `success` in your protocol.
# Whatever came out, it is your result. A study that misses its goal and says so is worth more than one that
# moved the goal.
#
# ## 6. Explain
#
# Look at the errors before you write about them. A map shows where the network looked, not why
# ([notebook 5](/notebooks/05_explain.ipynb)).
#
# ### Exercise: look at the errors
#
# Draw test images that were called wrongly, at least one and at most six, with the map of each. Submit the
# figure.

# %% tags=["exercise"]
# solution: begin
wrong = np.flatnonzero(tested.predicted(threshold.value) != tested.y_true)[:4]
maps = explain.explain(trained.model, test.images[wrong], method="gradcam", target=1)
titles = [f"{data.classes[test.labels[row]]}: {tested.y_score[row]:.2f}" for row in wrong]
figure = plots.plot_map_grid(test.images[wrong], {"Grad-CAM": maps}, titles=titles)
plots.show(figure, alt="Test images that were called wrongly, and the map of each.", colours=256)
# blank: figure = ...  # of images and their maps
# solution: end
exercises.check("12-errors", figure, report=report, data=data)
# exercises.hint("12-errors")  # remove the first # to see a hint

# %% [markdown]
# ## 7. Report
#
# The report needs what no program can compute: what the model is for, who must not use it, and what is not
# known. `reports.model_card` puts your words beside the numbers. TRIPOD+AI is the list of what a paper on a
# clinical prediction model must report ([Collins et al., 2024](https://doi.org/10.1136/bmj-2023-078378));
# `reports.checklist` goes through its items and says which are still open. Nobody can check what is not
# reported.
#
# Before you hand it in, check it as a reviewer would. `self_check` reads only the files in your folder.

# %% tags=["hide-input"]
def self_check(folder, sealed):
    """Read the files of a study; say of each rule whether the report keeps it."""
    files = {path.name: path.read_bytes() for path in Path(folder).glob("*.*")}
    plan, found = (json.loads(files.get(f"{k}.json", b"{}")) for k in ("protocol", "report"))
    if not (plan and found):
        return pd.Series({"protocol and report are there": False})
    same = hashlib.sha256(files["protocol.json"]).hexdigest() == sealed
    card = html.unescape(files.get("model_card.html", b"").decode())
    by_patient = b"patient_id" in files["predictions.csv"]
    return pd.Series({"the protocol is the one sealed before": same,
                      "patients are counted": by_patient, **kept(plan, found, card)})


# %% tags=["hide-input"]
def kept(plan, found, card):
    """Say which rules a report keeps; `plan` is the protocol, `found` the numbers."""
    origin, warned = found["threshold"] or {}, " ".join(found["warnings"])
    rates = [rate for rate in found["metrics"].values() if rate["value"] is not None]
    bare = [rate for rate in rates if rate["low"] is None and not rate["reason"]]
    groups = {row["attribute"] for row in found["subgroups"]}
    chosen = "validation" in origin.get("chosen_on", "") and "to choose the threshold" not in warned
    return {"the threshold is not from the test images": chosen,
            "the primary measure has an interval": plan["primary"] in found["metrics"] and not bare,
            "the subgroups of the protocol are reported": set(plan["subgroups"]) <= groups,
            "the limits are stated in the model card": plan["limits"] in card}


# %% [markdown]
# ### Exercise: finish the report
#
# Write `model_card.html` and `checklist.html` into your folder, with the limits of your protocol in the
# card. Then check all of it, and submit the result.

# %% tags=["exercise"]
# solution: begin
card = reports.ModelCard(
    name="Pneumonia on simulated radiographs", version="1", limits=protocol["limits"],
    intended_use=protocol["intended_use"], out_of_scope="Any patient.", users="Learners.",
    model="EfficientNet-Lite0, frozen, with a fitted head.", licence="MIT",
    training_data=f"{len(train)} images of the sample", evaluation_data=f"{len(test)} others",
)
given = {"evaluation": report.evaluation, "groups": report.subgroups}
reports.model_card(card, folder / "model_card.html", **given)
items = reports.checklist(folder / "checklist.html", card=card, **given)
# blank: # write model_card.html and checklist.html here
checked = self_check(folder, sealed)
# blank: checked = ...  # self_check(folder, sealed)
# solution: end
exercises.check("12-report", checked)
# exercises.hint("12-report")  # remove the first # to see a hint

# %% tags=["nbval-check-output"]
display(self_check(folder, sealed).map({True: "yes", False: "not yet"}).to_frame("kept"))

# %% [markdown]
# ## Rubric
#
# Exchange folders with somebody and judge each other's study. Two points: done and argued. One: done. None:
# missing, or contradicted by the files.
#
# | | what earns two points |
# |---|---|
# | question | population, index test (here: the network), reference standard and intended use are named |
# | protocol | sealed before training; every later change is listed with its reason |
# | data | patients and images counted; exclusions, shortcuts and missing groups reported |
# | method | another person could repeat it from the report alone |
# | result | the primary measure first, with its interval; threshold from validation images |
# | subgroups | those of the protocol, with counts; groups too small for a conclusion are named as such |
# | errors | looked at, and described without guessing reasons |
# | limits | what the study cannot show stands where the result stands |
#
# Instructors find one for a longer project among their pages: [rubric for a project](/notebooks/instructor/rubric.md).
#
# ## Key points
#
# - Decide what you will measure before you can know the result, and prove it.
# - Audit first: no model repairs a set whose labels can be told without the disease.
# - Thresholds come from validation images; the test images are used once.
# - Report a result with its interval, its patients, its subgroups and its limits.
# - A missed goal, reported, is a result. A moved goal is not.
#
# ## Further reading
#
# - Collins et al., [*TRIPOD+AI statement*](https://doi.org/10.1136/bmj-2023-078378), BMJ 2024
# - Mitchell et al., [*Model Cards for Model Reporting*](https://doi.org/10.1145/3287560.3287596),
#   2019
# - Tejani et al., [*CLAIM: 2024 update*](https://doi.org/10.1148/ryai.240300), Radiology: Artificial
#   Intelligence 2024
#
# ## Next step
#
# Choose one of the use cases, [7. Brain tumour](/notebooks/07_brain_tumour.ipynb),
# [8. Diabetic retinopathy](/notebooks/08_retinopathy.ipynb), [9. Bone fracture](/notebooks/09_fracture.ipynb)
# or [10. COVID-19](/notebooks/10_covid.ipynb), write a protocol for it, and begin again.

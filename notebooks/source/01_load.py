# %% [markdown]
# # 1. Load: from a file to a number, and from numbers to a fair test
#
# {{badges}}
#
# **You will be able to**
#
# - turn the numbers in a DICOM file into the image that a radiologist sees;
# - read CT in Hounsfield units, and say why usual MR images have no unit;
# - resize an image and know what is lost;
# - find broken files and copies before you train;
# - split a data set by patient, and measure leakage;
# - test whether labels can be predicted *without* looking at the disease.
#
# **You need first:** [the quickstart](/quickstart.ipynb); Python up to functions.
#
# {{contract}}
#
# {{solutions}}

# %%
import shutil
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pydicom
from IPython.display import Markdown, display
from sklearn.metrics import roc_auc_score

from medimg import datasets, exercises, images, metrics, models, plots, training, widgets

# %% [markdown]
# ## What a radiograph is
#
# X-rays leave a tube, cross the patient and reach a detector. Bone absorbs many of them, water and
# muscle fewer, air almost none. So a radiograph is a *shadow*: apart from scattered rays, each pixel
# (as a logarithm) adds up the absorption along one ray. By convention, strong absorption is shown
# bright. Lungs, full of air, are dark; the heart, full of blood, is bright.
#
# The first half of this notebook always uses the course's sample. The second half, on splits and
# shortcuts, uses the data set that you chose with `MEDIMG_DATASET`.

# %% tags=["nbval-check-output"]
sample = datasets.load("sample")
sample = sample[~sample["burned_in"]]  # films with text in the picture: see notebook 6
plain = sample[(sample["photometric"] == "MONOCHROME2") & (sample["window"] == "linear")]
plain = plain.sort_values("bits", ascending=False, kind="stable")  # most levels of grey first
film = plain[plain["label"] == "normal"].iloc[0]
ax = plots.plot_image(images.read_image(film["dicom_path"]), title="a frontal chest radiograph")
plots.show(ax.figure, alt="A chest radiograph: two dark lungs, a bright heart between them.")

# %% [markdown]
# The patient faces you: their left side, with most of the heart, is on your right.
#
# ## What is in the file
#
# Each entry of a DICOM header has a tag (two numbers) and a name. With the library pydicom we print the
# entries that decide how to read the pixels. You can read an entry as `dicom.Modality`, and change it with
# `dicom.Modality = "CR"`.

# %% tags=["nbval-check-output"]
dicom = pydicom.dcmread(film["dicom_path"])
for name in ["Modality", "BitsStored", "RescaleSlope", "RescaleIntercept", "WindowCenter",
             "WindowWidth", "PhotometricInterpretation", "PixelSpacing"]:
    print(f"{dicom[name].tag}  {name:26} {dicom[name].value}")

# %% [markdown]
# `PixelSpacing` is the size of a pixel in millimetres. On a CT slice you can measure with it. On a
# radiograph it is the size *at the detector*, unless the header says that it was corrected. The rays
# spread out, so what lies farther from the detector looks larger, such as the heart on an AP view
# compared with a PA view. Now the pixels.

# %% tags=["nbval-check-output"]
stored = dicom.pixel_array
print(f"{stored.shape[0]} rows x {stored.shape[1]} columns, {stored.dtype}")
print(f"from {stored.min()} to {stored.max()}; {dicom.BitsStored} bits allow 0 to", end=" ")
print(2**dicom.BitsStored - 1)

# %% [markdown]
# These numbers are not yet brightness. Three steps lead to the image, always in this order:
#
# 1. the **modality** step: from stored numbers to measured values;
# 2. the **value of interest** step (VOI): which values run from black to white;
# 3. **polarity**: are large values bright or dark?
#
# ### Step 1: what the numbers measure
#
# The modality LUT (look-up table) is usually a straight line: value = slope x stored number +
# intercept. It often changes nothing on a radiograph, but much on CT.

# %%
values = stored * float(dicom.RescaleSlope) + float(dicom.RescaleIntercept)
np.testing.assert_allclose(images.read_values(film["dicom_path"]), values)

# %% [markdown]
# No output: the library gives the same numbers.
#
# ### Step 2: the window
#
# A window has a centre and a width. Half of the width lies on each side of the centre. Values below the
# window become black, values above it white. Those inside are spread evenly over the greys. The small
# corrections (half a level, and width minus one) are in the DICOM standard.

# %%
centre, width = float(dicom.WindowCenter), float(dicom.WindowWidth)
ramp = (values - (centre - 0.5)) / (width - 1) + 0.5
by_hand = np.clip(ramp, 0, 1)
np.testing.assert_allclose(images.read_image(film["dicom_path"]), by_hand, atol=1e-6)

# %% [markdown]
# Many files have *several* windows. The next image has two. The third picture ignores the header: it
# is scaled from its lowest to its highest value.

# %% tags=["nbval-check-output"]
double = sample[sample["window"] == "two windows"].iloc[0]["dicom_path"]
raw = images.read_values(double)
stretched = (raw - raw.min()) / (raw.max() - raw.min())
if images.read_header(double).PhotometricInterpretation == "MONOCHROME1":
    stretched = 1 - stretched
shown = [images.read_image(double, window=0), images.read_image(double, window=1), stretched]
fig, axes = plt.subplots(1, 3, figsize=(6.6, 2.6), layout="constrained")
titles = ["first window", "second window", "header ignored"]
for ax, picture, title in zip(axes, shown, titles, strict=True):
    plots.plot_image(picture, title=title, ax=ax)
plots.show(fig, alt="One image three times: a narrower window gives more contrast.")

# %% [markdown]
# The patient is the same, but a network sees a different contrast. Choose one way, and use it
# everywhere.
#
# ### Step 2 again, as a table
#
# Some manufacturers give a **VOI LUT** instead of a window: a table with the grey level of each value.
# We look up each value at its place in the table. (A third kind, the *sigmoid*, is a window with soft
# edges.)

# %%
odd = sample[(sample["window"] == "voi lut") & (sample["photometric"] == "MONOCHROME1")].iloc[0]
other = pydicom.dcmread(odd["dicom_path"])
table = other.VOILUTSequence[0]
entries = np.frombuffer(table.LUTData, np.uint16)
_, first, bits = table.LUTDescriptor  # how many entries, the first value, bits of an entry
place = np.clip(other.pixel_array.astype(int) - first, 0, len(entries) - 1)
looked_up = entries[place] / (2**bits - 1)

# %% [markdown]
# ### Step 3: polarity
#
# This image is also MONOCHROME1: large numbers must be shown *dark*. On the left, this was ignored.

# %% tags=["nbval-check-output"]
np.testing.assert_allclose(images.read_image(odd["dicom_path"]), 1 - looked_up, atol=1e-6)
fig, axes = plt.subplots(1, 2, figsize=(6, 3.2), layout="constrained")
plots.plot_image(looked_up, title="polarity forgotten", ax=axes[0])
plots.plot_image(1 - looked_up, title="as it should be", ax=axes[1])
plots.show(fig, alt="An inverted image with white lungs, and the right one, with dark lungs.")

# %% [markdown]
# A person sees at once that the left picture is inverted. A network does not. If one hospital sends
# inverted images and has more people with pneumonia, the network learns to recognise the hospital.
#
# > **Common mistake.** pydicom's `pixel_array` stops *before* step 1. Giving it directly to a network
# > is wrong for every file whose slope, window or polarity is not the default.
#
# ## PNG and DICOM: what is lost
#
# Public data sets mostly come as PNG or JPEG. Each radiograph of the sample exists as both DICOM and
# PNG. Are they the same?

# %% tags=["nbval-check-output"]
from_dicom = images.read_image(film["dicom_path"])
from_png = images.read_image(film["path"])
assert np.abs(from_dicom - from_png).max() <= 1 / 255
print("grey levels in the DICOM file:", len(np.unique(stored)))
print("grey levels in the PNG file:  ", len(np.unique(from_png)))

# %% [markdown]
# To the eye, yes: no pixel differs by more than one of 255 steps, and noise hides the steps. But the
# PNG has far fewer grey levels. We divide each of twenty steps into four narrow bars, and count the
# pixels in each bar.

# %% tags=["hide-input", "nbval-check-output"]
step = 1 / 255  # from one grey of the PNG to the next
middle = round(np.median(from_png[(from_png > 0.2) & (from_png < 0.8)]) / step)
edges = (middle + np.arange(-40, 41) / 4 - 1 / 8) * step  # a grey of the PNG lies in mid-bar
bars = {"DICOM": np.histogram(from_dicom, edges)[0], "PNG": np.histogram(from_png, edges)[0]}
filled = {name: int((count > 0).sum()) for name, count in bars.items()}
fig, axes = plt.subplots(2, 1, figsize=(6, 3.6), sharex=True, layout="constrained")
for ax, (name, count) in zip(axes, bars.items(), strict=True):
    ax.stairs(count, edges, fill=True, color="#0072B2")
    ax.set_title(f"{name}: {filled[name]} of {len(count)} bars hold pixels", fontsize=10)
    ax.set_ylabel("pixels")
axes[1].set_xlabel("grey, from 0 (black) to 1 (white)")
plots.show(fig, alt=f"Of 80 narrow bars, DICOM fills {filled['DICOM']} and PNG {filled['PNG']}.")

# %% [markdown]
# In the PNG, values between two levels were rounded to the nearest one. This matters when you
# spread a few grey levels over the screen with a narrow window, as radiologists do to look behind
# the heart.
#
# Values outside the window are lost. So is the header: pixel size, view, age, machine. That is bad for
# measuring and auditing, and good for privacy ([notebook 6](/notebooks/06_ethics.ipynb)).
#
# ## CT: numbers with a unit
#
# Computed tomography measures how strongly each small volume (a voxel) absorbs X-rays, in **Hounsfield
# units** (HU). Two points are fixed: air is -1000, water is 0. A CT usually comes as one file per
# slice. File names may be in another order, so `read_series` sorts by the position in the header.
# (This chest is real, from LIDC-IDRI; its name is invented.)

# %% tags=["nbval-check-output"]
ct = datasets.load("sample_ct")
series = Path(ct["path"].iloc[0]).parents[2] / "series"
volume = images.read_series(series)
hu = volume.values  # noqa: PD011 (slices, rows, columns)
extent = [f"{n * mm:.0f}" for n, mm in zip(hu.shape, volume.spacing, strict=True)]
print(f"{hu.shape} voxels, {' x '.join(extent)} mm, {hu.min():.0f} HU to {hu.max():.0f} HU")

# %% [markdown]
# Which values occur in one slice? Air, water and soft tissues have nearly the same values in every
# hospital; bone and contrast agent also depend on the tube voltage. (On the vertical axis, each number is
# ten times the one below it.)

# %% tags=["hide-input", "nbval-check-output"]
chest = hu[len(hu) // 2]
fig, ax = plt.subplots(figsize=(5, 2.6), layout="constrained")
ax.hist(chest.ravel(), bins=100, histtype="stepfilled", alpha=0.6, log=True)
ax.set(xlabel="pixel value (HU)", ylabel="pixels")
for name, value in {"air": -1000, "lung": -850, "fat": -100, "muscle": 45}.items():
    ax.axvline(value, color="#D55E00", lw=1, ls="--")
    ax.text(value + 10, ax.get_ylim()[1], name, rotation=60, fontsize=8)
share = (chest < -500).mean()
plots.show(fig, alt=f"Humps at air, lung, fat, muscle and blood; {share:.0%} below -500 HU.")

# %% [markdown]
# Compact bone lies above about 500 HU, the spongy bone inside a vertebra between about 100 and 300.
# But not every high value is bone. The peak near 400 HU is blood with contrast agent, in the heart and
# the aorta; without it, blood lies near 45. Nearly everything above 1000 HU in this slice is the
# superior vena cava, a large vein through which the agent arrives.
#
# Radiologists look at the same slice through several windows; the library knows the usual ones by name.

# %% tags=["nbval-check-output"]
fig, axes = plt.subplots(1, 3, figsize=(6.6, 2.6), layout="constrained")
for ax, name in zip(axes, ["lung", "mediastinum", "bone"], strict=True):
    centre, width = images.CT_WINDOWS[name]
    by_hand = np.clip((chest - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    np.testing.assert_allclose(images.apply_window(chest, centre, width), by_hand, atol=1e-6)
    plots.plot_image(by_hand, title=f"{name}: {centre:.0f}, {width:.0f}", ax=ax)
plots.show(fig, alt="One slice: vessels in the lung window, heart in the next, bone in the third.")

# %% [markdown]
# Titles give centre and width in HU; only the map from values to greys changed. The **lung** window shows
# the vessels of the lungs. In the **soft-tissue** (mediastinal) window the lungs are black, and muscle
# and fat have their own greys. The heart's chambers, full of contrast agent, are white in both, and grey
# in the **bone** window, which keeps the detail of bright bone. A **brain** window, only 80 HU wide,
# separates grey from white matter.
#
# Now move the window. Find one that shows the lungs *and* the heart, and see what is lost.
# (On a web page nothing moves.)

# %% tags=["nbval-check-output"]
widgets.window_explorer(chest, centre=40, width=400)

# %% [markdown]
# ### Exercise: from stored number to Hounsfield units
#
# Another scanner stores the number **532** for a voxel. Its header gives rescale slope **2** and
# rescale intercept **-1024**. How many Hounsfield units is that?

# %% tags=["exercise"]
# solution: begin
hounsfield = 2 * 532 - 1024
# solution: end
exercises.check("01-hounsfield", hounsfield)
# exercises.hint("01-hounsfield")  # remove the first # to see a hint

# %% [markdown]
# ### Exercise: write a window
#
# Write a function that takes an array of values, a centre and a width. It returns numbers from 0 to 1:
# 0 at and below the lower edge of the window, 1 at and above the upper edge, and a straight line
# between. You may leave out the small corrections.

# %% tags=["exercise"]
def to_grey(values, centre, width):
    """Return values as greys: 0 is black, 1 is white."""
    # solution: begin
    lower = centre - width / 2
    return np.clip((values - lower) / width, 0, 1)
    # solution: end


exercises.check("01-window", to_grey)
# exercises.hint("01-window")  # remove the first # to see a hint

# %% [markdown]
# ### A radiograph is the shadow of a CT
#
# We turn HU into absorption (water stops about 2 % of the rays per millimetre), add it up from front
# to back, and show large sums bright. The sample's radiographs were made in this way, with more
# physics.

# %% tags=["nbval-check-output"]
absorption = 0.02 * np.clip(1 + hu / 1000, 0, None)  # per mm
on_the_way = absorption.sum(axis=1) * volume.spacing[1]  # rays run down the columns, front to back
arriving = np.exp(-on_the_way)
shadow = images.apply_window(on_the_way, 3, 6, function="LINEAR_EXACT")[::-1]  # head up
ax = plots.plot_image(shadow, title=f"{len(hu)} CT slices, added up from front to back")
ax.set_aspect(volume.spacing[0] / volume.spacing[2])
plots.show(
    ax.figure,
    alt=f"A blurred chest radiograph made from CT; behind the densest part {arriving.min():.2%} "
    "of the rays arrive.",
)

# %% [markdown]
# Ribs lie over lung, and heart over spine. What CT shows separately, a radiograph adds up. So a
# radiograph has **no** Hounsfield units, and a faint pneumonia can be hidden. **A normal radiograph does
# not exclude pneumonia** (in one study, radiographs showed opacities in only 43.5 % of the adults whose
# CT showed them, [Self 2013](https://doi.org/10.1016/j.ajem.2012.08.041)).
#
# ## MR: numbers without a unit
#
# Magnetic resonance measures how hydrogen behaves in a magnetic field. The values of the usual
# *weighted* images depend on scanner, coil and settings, and have no unit. (Quantitative maps, such as
# T1 in milliseconds, have one.) From each slice without a lesion we take the median (the middle value)
# of its brighter half, which is mostly brain. (Heads and brightness are simulated; different slice
# heights add to the spread.)

# %% tags=["nbval-check-output"]
mr = datasets.load("sample_mr")
healthy = [images.read_values(path) for path in mr.loc[mr["label"] == "no_lesion", "path"]]
medians = [float(np.median(head[head > head.mean()])) for head in healthy]
order = np.argsort(medians)
heads = [healthy[order[0]], healthy[order[-1]]]  # the darkest and the brightest
print(f"{len(healthy)} slices without a lesion: medians from {min(medians):.0f} to "
      f"{max(medians):.0f}, and disease explains none of it")

# %% [markdown]
# The usual solution is **percentiles** of each image: the value below which 1 % of the pixels lie
# becomes black, that of 99 % white. (With minimum and maximum, a single broken pixel would decide.)
# The ranges are then comparable, still without a unit.

# %% tags=["nbval-check-output"]
fixed = [images.apply_window(head, heads[1].max() / 2, heads[1].max()) for head in heads]
scaled = []
for head in heads:
    low, high = np.percentile(head, [1, 99])
    scaled.append(np.clip((head - low) / (high - low), 0, 1))
    same = images.apply_window(head, (low + high) / 2, high - low, function="LINEAR_EXACT")
    np.testing.assert_allclose(same, scaled[-1], atol=1e-5)
titles = ["darkest head", "brightest, same window", "darkest, percentiles",
          "brightest, percentiles"]
fig = plots.plot_grid([*fixed, *scaled], titles=titles, columns=2)
plots.show(fig, alt="Two heads: in one window one is dark; by percentiles both are as bright.")

# %% [markdown]
# ## Normalising and resizing
#
# A network needs all images in one size and one range. The range is easy: `read_image` returns 0 to 1,
# and our networks *normalise* it themselves (notebook 3). Resizing can go wrong in three ways.
#
# ### The shape: aspect ratio
#
# Networks usually need square images. We can stretch a radiograph or pad it.

# %% tags=["nbval-check-output"]
pictures = [images.read_image(path) for path in sample["path"].head(20)]
oblong = max(pictures, key=lambda p: abs(np.log(p.shape[0] / p.shape[1])))
squares = [images.resize(oblong, 224), images.resize(oblong, 224, keep_aspect=True)]
change = oblong.shape[0] / oblong.shape[1]
fig, axes = plt.subplots(1, 3, figsize=(6.6, 2.6), layout="constrained")
titles = [f"{oblong.shape[0]} x {oblong.shape[1]}", "stretched", "padded"]
for ax, picture, title in zip(axes, [oblong, *squares], titles, strict=True):
    plots.plot_image(picture, title=title, ax=ax)
plots.show(fig, alt=f"Stretching changes width against height by a factor of {change:.2f}.")

# %% [markdown]
# Stretching distorts the chest. Padding keeps the shape and adds black bars. If people with pneumonia
# were imaged lying down, on wider images, the *bars* reveal the label. Choose one way, and check it with
# the audit below.
#
# ### The grid: interpolation
#
# To shrink an image, you can skip pixels, or average blocks of them. We make a CT slice of 256 by 256
# pixels four times smaller.

# %% tags=["nbval-check-output"]
lung = images.apply_window(chest, *images.CT_WINDOWS["lung"])
skipped = lung[::4, ::4]
averaged = lung.reshape(64, 4, 64, 4).mean(axis=(1, 3))
np.testing.assert_allclose(images.resize(lung, 64), averaged, atol=1e-5)
fig, axes = plt.subplots(1, 2, figsize=(6, 3.2), layout="constrained")
plots.plot_image(skipped, title="every fourth pixel", ax=axes[0])
plots.plot_image(averaged, title="average of 4 x 4", ax=axes[1])
plots.show(fig, alt="Skipping leaves jagged edges and broken vessels; averaging is smoother.")

# %% [markdown]
# Skipping loses 15 of 16 pixels: vessels break, edges become stairs, and noise stays. This is
# *aliasing*. The library averages the area that each new pixel covers.
#
# ### What is lost at 224 pixels
#
# Averaging mixes what is smaller than a pixel with its surroundings. How much contrast of a faint round
# spot is left in a smaller image? (Averaging is linear, so we can shrink the spot on its own.)

# %%
mm = float(dicom.PixelSpacing[0])
side = max(stored.shape)
rows, columns = np.mgrid[:side, :side]
kept = {size: {} for size in (224, 112, 56)}
for size in kept:
    for diameter in (2, 4, 8, 16, 32):
        spot = np.hypot(rows - side / 2 + 3, columns - side / 2 + 2) * mm <= diameter / 2
        kept[size][diameter] = images.resize(spot, size).max()

# %% tags=["nbval-check-output", "hide-input"]
ax = pd.DataFrame(kept).plot(figsize=(5, 2.8), style=["-.o", "--s", "-^"], logx=True)
ax.set(xlabel="diameter of the spot (mm)", ylim=(0, 1.05),
       ylabel="contrast left in\nthe brightest pixel")
ax.set_xticks([2, 4, 8, 16, 32], ["2", "4", "8", "16", "32"])
ax.minorticks_off()
ax.legend(title="pixels per side", frameon=False)
plots.show(ax.figure, alt=f"At 56 pixels {kept[56][4]:.0%} of the contrast of a 4 mm spot is left.")

# %% [markdown]
# How large are the lesions that we want to find? For each mask we compute the diameter of a circle
# with the same area, all parts together.

# %% tags=["nbval-check-output"]
sick = sample[sample["label"] == "pneumonia"]
areas = []
for mask, header in zip(sick["mask_path"], sick["dicom_path"], strict=True):
    spacing = float(images.read_header(header).PixelSpacing[0])
    areas.append((images.read_image(mask) > 0.5).sum() * spacing**2)
across = 2 * np.sqrt(np.array(areas) / np.pi)
display(Markdown(
    f"The smallest lesion measures **{across.min():.0f} mm**, the median {np.median(across):.0f} "
    f"mm. One pixel of this image at 224 covers {side * mm / 224:.1f} mm: the smallest spans "
    f"**{across.min() / (side * mm / 224):.0f} pixels**."
))  # fmt: skip

# %% [markdown]
# The sample's pneumonias are extensive, often in both lungs. Its masks are also large: they include
# every place where disease weakens the rays by more than about 4 %, more than a reader would see. A
# real pneumonia may be an area of 20 to 50 mm.
#
# So 224 pixels are enough for the *outline* of pneumonias like these. They are *not* enough for thin
# lines between lung lobules, the shape of a small nodule, a hairline fracture, or the edge of a
# collapsed lung. Clinical images have about 2,500 pixels per side. Choosing the size is a medical decision.
#
# ## A folder as it really arrives
#
# Real folders hold broken downloads, renamed copies and forgotten notes. We make such a folder: three
# good images, a copy, half of a file, and a text file named like an image.

# %%
folder = Path(tempfile.mkdtemp())
for number, path in enumerate(sample["dicom_path"].head(3)):
    shutil.copy(path, folder / f"film{number}.dcm")
shutil.copy(folder / "film0.dcm", folder / "holiday.dcm")
whole = (folder / "film1.dcm").read_bytes()
(folder / "cut.dcm").write_bytes(whole[: len(whole) // 2])
_ = (folder / "notes.png").write_text("Please call back the ward.", encoding="utf-8")

# %% tags=["nbval-check-output"]
found = images.scan(folder, progress=False)
found["file"] = [Path(path).name for path in found["path"]]
found["copy of"] = [Path(path).name if path else "" for path in found["duplicate_of"]]
found[["file", "kind", "readable", "copy of"]].style.hide()

# %% tags=["nbval-check-output"]
for _, row in found[~found["readable"]].iterrows():
    print(f"{row['file']}: {row['reason']}\n")
shutil.rmtree(folder)

# %% [markdown]
# The scan reads content, not names: it finds the copy by its pixels, and says what is wrong with each
# bad file. A broken file stops your program. A copy is worse: your result can look too good.
#
# A file can be readable and still wrong. `export.dcm` holds the first radiograph of this notebook, after
# somebody edited **two** entries of its header.

# %% tags=["hide-input", "nbval-check-output"]
folder = Path(tempfile.mkdtemp())
edited = pydicom.dcmread(film["dicom_path"])
edited.PhotometricInterpretation, edited.RescaleIntercept = "MONOCHROME1", "-1024"
edited.save_as(folder / "export.dcm")
pair = [images.read_image(path) for path in (film["path"], folder / "export.dcm")]
fig = plots.plot_grid(pair, columns=2, titles=["the PNG", "export.dcm"])
plots.show(fig, alt="The same chest twice: as it should be, and inverted.", colours=128)
for name in ["BitsStored", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth",
             "PhotometricInterpretation"]:
    print(f"{name:26} {edited[name].value}")

# %% [markdown]
# ### Exercise: repair a file
#
# Compare `export.dcm` with the PNG, which is right, and its header with the first header above. Change the two
# entries, and write a copy with `dicom.save_as(repaired)`, where `repaired` is its path, such as
# `folder / "repaired.dcm"`.

# %% tags=["exercise"]
dicom = pydicom.dcmread(folder / "export.dcm")
# solution: begin
dicom.PhotometricInterpretation = "MONOCHROME2"
dicom.RescaleIntercept = "0"  # a radiograph is not in Hounsfield units
repaired = folder / "repaired.dcm"
dicom.save_as(repaired)
# blank: repaired = ...  # change entries of `dicom`, save it, and give the path
# solution: end
exercises.check("01-repair", repaired, original=film["path"])
# exercises.hint("01-repair")  # remove the first # to see a hint

# %% [markdown]
# ## Split by patient
#
# `split_by_patient` distributes *patients*, class by class. No patient is in two splits, and the mix of
# classes is similar.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(1)
studies = datasets.load(classes=2)
classes = datasets.class_names(studies)
fair = datasets.split_by_patient(studies, rng=rng)
assert fair.groupby("patient_id")["split"].nunique().max() == 1
counts = pd.crosstab(fair["split"], fair["label"]).loc[["test", "val", "train"], list(classes)]
ax = counts.plot.barh(stacked=True, width=0.8, figsize=(5, 2.4), cmap="Set2", ylabel="")
for bars in ax.containers:
    ax.bar_label(bars, label_type="center")
ax.set_xlabel("images")
numbers = ", ".join(f"{name} {count}" for name, count in counts.sum(axis=1).items())
plots.show(ax.figure, alt=f"Images in each split: {numbers}; both classes in each.")

# %% [markdown]
# Why not simply shuffle the images? We try it.

# %% tags=["nbval-check-output"]
names = rng.choice(["train", "val", "test"], size=len(studies), p=[0.7, 0.15, 0.15])
leaky = studies.assign(split=names)
torn = leaky.groupby("patient_id")["split"].nunique().gt(1).sum()
films = studies.groupby("patient_id").size()
display(Markdown(
    f"Of {len(films):,} patients, {(films > 1).sum():,} have more than one image. Shuffling images "
    f"put **{torn:,}** of them in more than one split."
))  # fmt: skip

# %% [markdown]
# ### Exercise: write a split
#
# Write a split yourself, without the library: about 60 % of the **patients** in *train*, 20 % in *val*,
# 20 % in *test*, by chance, and all images of a patient in one split. If a dictionary `d` says which word
# each patient gets, `studies["patient_id"].map(d)` gives each image its patient's word, and
# `studies.assign(split=...)` is the table with these words.

# %% tags=["exercise"]
# solution: begin
people = np.random.default_rng(7).permutation(studies["patient_id"].unique())
share = np.arange(len(people)) / len(people)
names = np.select([share < 0.6, share < 0.8], ["train", "val"], "test")
mine = studies.assign(split=studies["patient_id"].map(dict(zip(people, names, strict=True))))
# blank: people = ...  # each patient once, in random order
# blank: mine = ...  # the table, with the split of each image's patient
# solution: end
exercises.check("01-split", mine, studies=studies)
# exercises.hint("01-split")  # remove the first # to see a hint

# %% [markdown]
# ## The leakage lab
#
# If information about the test images reaches the training, this is called **data leakage**. We measure
# it. From a large data set we keep patients with several images. Copies are the worst case, so we *add*
# a copy of every image, moved by a few pixels and a little darker.

# %%
several = studies["patient_id"].map(films) > 1
studies_lab = studies[several] if len(studies) > 1000 else studies
chosen = rng.permutation(studies_lab["patient_id"].unique())[:80]
studies_lab = studies_lab[studies_lab["patient_id"].isin(chosen)].groupby("patient_id").head(3)
lab = datasets.decode(studies_lab, size=224)
moved = np.roll(lab.images, (2, -3), axis=(1, 2))
copies = np.uint8(moved * 0.95)
lab

# %% [markdown]
# A pretrained network turns each image into 1,280 numbers, its *features* (see the
# [quickstart](/quickstart.ipynb)). Images that look alike have similar features. `alike` holds the
# similarity of every image to every other: 1 is the same, 0 unrelated.

# %%
model = models.build_model("efficientnet_lite0")
features = training.extract_features(model, np.concatenate([lab.images, copies]))
unit = features - features.mean(axis=0)
unit /= np.linalg.norm(unit, axis=1, keepdims=True)
alike = unit @ unit.T
labels, patients = np.tile(lab.labels, 2), np.tile(lab.patients, 2)
ids = np.array([*lab.ids, *(f"{name} copy" for name in lab.ids)])

# %% [markdown]
# ### A model that can only recognise
#
# Our first model only asks: is the most similar training image positive or negative?
#
# And the label is not a disease: **we toss a coin for each patient**; heads means "sick". Nothing in
# the images can show this label. An honest test must give an AUC of about 0.5.

# %%
def recognise(rows, units, rng):
    """Toss labels by patient, hold out a third of the units, return the AUC of recognising."""
    coin = {name: rng.integers(2) for name in np.unique(patients)}
    sick = np.array([coin[name] for name in patients[rows]]) == 1
    names = rng.permutation(np.unique(units))
    test = np.isin(units, names[: len(names) // 3])
    near = alike[np.ix_(rows, rows)]
    score = near[test][:, ~test & sick].max(axis=1) - near[test][:, ~test & ~sick].max(axis=1)
    return roc_auc_score(sick[test], score)


# %% [markdown]
# `units` says what we split: images, or patients. `test` marks the images of a third of them. The score
# of a test image is its similarity to the most similar *sick* training image, minus that to the most
# similar healthy one. We repeat each way a hundred times, without and with copies.

# %%
everything, originals = np.arange(len(ids)), np.arange(len(lab))
ways = {
    "by patient": (originals, lab.patients),
    "by image": (originals, lab.ids),
    "by patient,\nwith copies": (everything, patients),
    "by image,\nwith copies": (everything, ids),
}
tossed = {
    name: [recognise(rows, units, rng) for _ in range(100)] for name, (rows, units) in ways.items()
}

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
for name, found in tossed.items():
    ax.plot(np.percentile(found, [2.5, 97.5]), [name, name], color="#0072B2", lw=2)
    ax.plot(np.mean(found), name, "o", color="#0072B2")
ax.axvline(0.5, color="#767676", ls="--")
ax.set(xlabel="AUC for labels that were tossed with a coin", ylim=(3.5, -0.5))
means = {name: float(np.mean(found)) for name, found in tossed.items()}
plots.show(fig, alt=f"Mean AUC: { {' '.join(k.split()): round(v, 2) for k, v in means.items()} }.")

# %% tags=["headline", "hide-input"]
honest, fake = np.percentile(tossed["by patient"], [2.5, 97.5]), means["by image,\nwith copies"]
display(Markdown(
    f"**Labels from a coin.** Split by patient, the mean AUC is **{means['by patient']:.2f}** "
    f"(95 % of the draws from {honest[0]:.2f} to {honest[1]:.2f}); by image, "
    f"**{means['by image']:.2f}**; by image with copies, **{fake:.2f}**. There was nothing to "
    "learn."
))  # fmt: skip

# %% [markdown]
# Dots are means; lines hold 95 of the 100 repetitions ("draws"). By patient, the AUC stays around 0.5,
# with or without copies. By image and with copies, the model "diagnoses" coin tosses: it recognises the
# patient. Without copies, the leak may be too small to see. That depends on how many test patients also
# have images in training, and on how similar these are.
#
# ### A model as people use it
#
# Now we use the true labels and a logistic regression on the features. In **cross-validation** we divide
# the data into five parts; a model trained on four of them scores the fifth. We divide once by image and
# once by patient (three times each, averaging the scores).

# %%
def cross_validated(rows, units):
    """Return predictions for these rows, each from models fitted without its unit."""
    def score(train, test):
        probe = training.linear_probe(features[rows[train]], labels[rows[train]])
        return training.probabilities(probe.logits(features[rows[test]]))

    scores = np.mean([training.cross_validate(score, labels[rows], units, seed=seed)
                      for seed in range(3)], axis=0)
    return metrics.Predictions(
        ids[rows], labels[rows], np.clip(scores, 0, 1), patient_ids=patients[rows], classes=classes
    )


# %% tags=["headline"]
results = {name: cross_validated(rows, units) for name, (rows, units) in ways.items()}
for extra in ("", ",\nwith copies"):
    fair_auc, leaky_auc = results["by patient" + extra], results["by image" + extra]
    gain = metrics.auc_difference(leaky_auc, fair_auc)
    display(Markdown(
        f"**True labels{extra.replace(chr(10), ' ')}**: AUC {metrics.auc(fair_auc)} by patient, "
        f"{metrics.auc(leaky_auc)} by image. Inflation **{gain.value:+.3f}**, 95 % interval "
        f"{gain.low:+.3f} to {gain.high:+.3f}."
    ))  # fmt: skip

# %% [markdown]
# *Inflation* is how much too high the AUC by image is. The intervals count patients, not images (DeLong's
# method, notebook 4), so copies do not make them narrower. If the interval of the inflation includes
# zero, the leak may still do harm: there may be too few images to see it. The inflation is small where
# the honest AUC is already near 1. The score itself never shows a leak.
#
# > **Common mistake.** Pieces of one image, slices of one CT, frames of one video, augmented copies
# > made *before* the split: all are several images of one patient.
#
# ## The shortcut audit
#
# A split by patient does not keep out a **shortcut**: something in the image or file that goes with
# the label and is not the disease. The cause is often a *confounder*, linked to both disease and
# image: patients in a serious condition are imaged in bed, with another machine.
#
# So ask before you train: can the label be predicted from what is *not* disease? `audit_shortcuts`
# tries the file size, 18 numbers about the whole image (such as its mean brightness), strips along the
# border, each header field and each other column, split by patient.

# %%
audited = datasets.subsample(studies, {"train": 800, "val": 150, "test": 150}, rng=rng)
audit = datasets.audit_shortcuts(audited)
print("left out:", *audit.attrs["left_out"])
audit.head(8).round(2)

# %% [markdown]
# Each row is one shortcut, with the AUC of a model that uses only this. We compare with the chest
# radiographs of Kermany and colleagues, used in many courses. Their values come from the published
# training folder (5,216 images, 224 by 224 pixels), split by patient: from the file's size, the 18 numbers
# ("global statistics"), and strips of 8 pixels along the top and left edges.

# %% tags=["hide-input"]
famous = {"file size": 0.900, "global statistics": 0.965, "border strips": 0.971}
basic = audit.drop_duplicates("shortcut").set_index("shortcut").loc[list(famous)]
error = [basic["auc"] - basic["low"], basic["high"] - basic["auc"]]
fig, ax = plt.subplots(figsize=(6, 2.4), layout="constrained")
ax.errorbar(basic["auc"], basic.index, xerr=error, fmt="o", capsize=4, label="the data set here")
ax.plot(list(famous.values()), list(famous), "D", color="#D55E00", label="Kermany, training folder")
ax.axvline(0.5, color="#767676", ls="--", label="chance")
ax.set(xlabel="AUC without looking at the disease", xlim=(0.2, 1), ylim=(-0.5, 2.5))
ax.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
told = [f"{name} {auc:.2f} (Kermany {famous[name]:.2f})" for name, auc in basic["auc"].items()]
plots.show(fig, alt=f"AUC of shortcuts: {', '.join(told)}.")

# %% tags=["headline", "hide-input"]
telling = audit[audit["low"] > 0.5]
worst = audit.iloc[0]
verdict = ("Do not believe an AUC on this set before you know where that comes from."
           if worst["low"] > 0.7 else
           f"No strong shortcut is shown; one up to {worst['high']:.2f} cannot be ruled out here.")
display(Markdown(
    f"The audit tried **{len(audit)}** shortcuts on {len(audited)} images. "
    f"{len(telling)} have an interval wholly above 0.5; luck alone would give about "
    f"{0.025 * len(audit):.1f}. The most telling is **{worst['shortcut']}**, AUC "
    f"**{worst['auc']:.2f}** ({worst['low']:.2f} to {worst['high']:.2f}). {verdict}"
))  # fmt: skip

# %% [markdown]
# Two warnings. If you test many shortcuts, some will look important by chance. Compare their number
# with what chance gives, and look at the size of the AUC, not only at its interval. And a shortcut is
# not always an error: disease itself changes the mean brightness a little, and sick people *are* more
# often imaged lying down. The audit shows where a good score may come from.
#
# To measure the Kermany set yourself, [download it](/README.md#real-images) and start Jupyter with
# `MEDIMG_DATASET=kermany` and `MEDIMG_DATA` set to its folder.
#
# ### Exercise: which of these has a shortcut?
#
# In which of four data sets could a network predict the label **without** the disease? Give a list, such
# as `["a", "b"]`.
#
# - **a** People with disease were imaged lying in intensive care with a portable machine, healthy
#   people standing in the clinic.
# - **b** Both groups came in the same weeks, to the same machines, and one program exported all
#   images.
# - **c** Images without disease come from a public set (JPEG quality 60), images with disease from the
#   hospital (JPEG quality 95).
# - **d** People with disease are one to five years old, healthy people are adults.

# %% tags=["exercise"]
# solution: begin
shortcuts = ["a", "c", "d"]
# solution: end
exercises.check("01-shortcuts", shortcuts)
# exercises.hint("01-shortcuts")  # remove the first # to see a hint

# %% [markdown]
# ## Key points
#
# - Stored numbers become an image in three steps: modality, window or table, polarity.
# - A PNG keeps one window, 256 grey levels and no header.
# - CT has Hounsfield units. Radiographs and weighted MR images have no unit.
# - To make images smaller, average. Compare the size of a pixel with what you look for.
# - Scan a folder for bad files and copies before you train.
# - Split by patient. With copies, a model can seem to diagnose coin tosses, and the score alone does not
#   show it.
# - Audit for shortcuts before you train.
#
# ## Further reading
#
# - DICOM PS3.3, [sections C.11.1 (modality LUT) and C.11.2 (VOI LUT)](https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.11.html)
# - Kermany et al., [*Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep
#   Learning*](https://doi.org/10.1016/j.cell.2018.02.010), Cell 2018
# - Kapoor and Narayanan, [*Leakage and the reproducibility crisis in machine-learning-based
#   science*](https://doi.org/10.1016/j.patter.2023.100804), Patterns 2023
#
# ## Next step
#
# [2. Augment](/notebooks/02_augment.ipynb) changes the training images in many ways, and asks which
# results could come from a real patient.

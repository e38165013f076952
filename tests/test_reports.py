"""Reports: one file that needs no other, honest about what is missing, the same twice."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from medimg.errors import MetricsError
from medimg.metrics import Estimate, Predictions, choose_threshold, evaluate
from medimg.reports import ModelCard, checklist, model_card, write_report
from medimg.reports.page import shown
from medimg.reports.sections import where_better
from medimg.tables import read_table

VOID = {"meta", "img", "br", "link", "hr"}


class Balance(HTMLParser):
    """Checks that every element is closed, and collects pictures without alternative text."""

    def __init__(self):
        super().__init__()
        self.open, self.bare, self.pictures = [], [], 0

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.pictures += 1
            if not dict(attrs).get("alt"):
                self.bare.append(attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_page(path):
    """Whole, self-contained, and fit for a phone; returns the text."""
    text = re.sub("</?bdi>", "", path.read_text(encoding="utf-8").replace("\u00a0", " "))
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert parser.bare == []
    assert 'name="viewport"' in text
    without_pictures = re.sub(r"data:image/svg\+xml;base64,[\w+/=]+", "", text)
    assert not re.search(r"(src|href)=\"(?!\")[^\"]+\"|url\(|@import|<script", without_pictures)
    assert "nan" not in re.sub(r"<[^>]+>", " ", without_pictures).lower().split()
    return text, parser.pictures


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 2, 240)
    score = np.clip(0.35 * true + 0.65 * rng.random(240), 0, 1)
    names = [f"i{k}" for k in range(240)]
    patients = [f"p{k // 2}" for k in range(240)]
    everyone = Predictions(names, true, score, patients, ("normal", "<pneumonia>"))
    studies = pd.DataFrame(
        {"image_id": everyone.ids[::-1], "sex": rng.choice(["F", "M"], 240),
         "age": rng.uniform(0, 90, 240), "view": ["PA"] * 236 + ["AP"] * 4}
    )  # fmt: skip
    threshold = choose_threshold(everyone.subset(np.arange(80)), rule="sensitivity")
    return everyone.subset(np.arange(80, 240)), studies, threshold


@pytest.fixture(scope="module")
def report(cohort, tmp_path_factory):
    test, studies, threshold = cohort
    return write_report(test, tmp_path_factory.mktemp("report"), threshold=threshold,
                        studies=studies)  # fmt: skip


def test_the_page_is_whole(report):
    text, pictures = check_page(report.html)
    assert pictures == 8
    assert "&lt;pneumonia&gt;" in text
    assert "<pneumonia>" not in text
    assert "chosen on validation (80 images" in text
    assert "too small to say" in text


def test_the_numbers_are_those_of_the_evaluation(report):
    numbers = json.loads(report.json.read_text(encoding="utf-8"))
    for name, estimate in report.evaluation.estimates.items():
        assert numbers["metrics"][name]["value"] == estimate.value
        assert numbers["metrics"][name]["low"] == estimate.low
    assert numbers["n_patients"] == 80
    assert numbers["confusion"]["counts"] == report.evaluation.confusion.to_numpy().tolist()
    text, _ = check_page(report.html)
    assert f"{report.evaluation['auc']:.2f}" in text
    assert {g["attribute"] for g in numbers["subgroups"]} == {"sex", "age"} | (
        {"view"} if "view" in set(report.subgroups.table["attribute"]) else set()
    )


def test_predictions_can_be_read_again(report, cohort):
    read = read_table(report.predictions)
    assert read["image_id"].tolist() == cohort[0].ids.tolist()
    np.testing.assert_array_equal(read["y_score"].astype(float), cohort[0].y_score)


def test_groups_are_matched_by_image_not_by_row(report, cohort):
    test, studies, _ = cohort
    sex = studies.set_index("image_id").loc[test.ids.tolist(), "sex"]
    table = report.subgroups.table
    counted = table[(table["attribute"] == "sex") & (table["metric"] == "auc")]
    assert dict(zip(counted["group"], counted["n"], strict=True)) == sex.value_counts().to_dict()


def test_the_same_report_to_the_byte(report, cohort, tmp_path):
    test, studies, threshold = cohort
    again = write_report(test, tmp_path, threshold=threshold, studies=studies)
    assert again.html.read_bytes() == report.html.read_bytes()
    assert again.json.read_bytes() == report.json.read_bytes()


@pytest.mark.parametrize("healthy", ["", "none"])  # the sample says "none"
def test_groups_of_the_ill_leave_nothing_blank(cohort, tmp_path, healthy):
    """Only the ill have a grade, so each grade is set against the same healthy images."""
    test, studies, threshold = cohort
    truth = dict(zip(test.ids, test.y_true, strict=True))
    grades = ["medium", "strong", "weak"]
    grade = [grades[k % 3] if truth.get(i) else healthy for k, i in enumerate(studies["image_id"])]
    made = write_report(test, tmp_path, threshold=threshold, studies=studies.assign(grade=grade))
    text, _ = check_page(made.html)
    assert "the same healthy images in every group" in text
    order = made.subgroups.table.query("attribute == 'grade'")["group"].unique().tolist()
    assert order == ["medium", "strong", "weak"]
    counted = made.subgroups.table.query("attribute == 'grade'")
    assert set(counted["metric"]) == {"sensitivity", "auc"}
    assert counted["value"].notna().all()
    model_card(ModelCard("demo"), tmp_path / "c.html", groups=made.subgroups)
    text, _ = check_page(tmp_path / "c.html")
    assert "With disease" in text
    assert not re.search(r">(auc|n|attribute)<", text)


def test_a_column_that_makes_no_groups_is_left_out_and_named(cohort, tmp_path):
    test, studies, threshold = cohort
    odd = studies.assign(site=[f"s{k % 30}" for k in range(240)], age=["34 years"] * 240)
    made = write_report(test, tmp_path, threshold=threshold, studies=odd)
    assert not {"age", "site"} & set(made.subgroups.table["attribute"])
    left_out = [w for w in made.evaluation.warnings if "left out" in w]
    assert left_out[0].startswith("the column 'age' was left out of the subgroups: ")
    assert left_out[1].startswith("the column 'site' was left out of the subgroups: ")
    text, _ = check_page(made.html)
    assert "the column &#39;site&#39; was left out" in text
    assert json.loads(made.json.read_text(encoding="utf-8"))["warnings"][-1] == left_out[1]


@pytest.mark.parametrize("patients", [None, list("abcd")])  # a table without patients has ids
def test_patients_that_are_not_known_are_not_counted(tmp_path, patients):
    p = Predictions("abcd", [0, 1, 1, 0], [0.1, 0.9, 0.8, 0.3], patients)
    made = write_report(p, tmp_path, threshold=0.5)
    counted = "4 images (patients not known: each image counts as one patient)"
    text, _ = check_page(made.html)
    assert f"Tested on {counted}: negative: 2, positive: 2. In brackets" in text
    assert "patients:" not in text
    model_card(ModelCard("demo"), tmp_path / "card.html", evaluation=made.evaluation)
    assert f"<p>{counted} (negative: 2, positive: 2). " in check_page(tmp_path / "card.html")[0]
    items = checklist(tmp_path / "list.html", evaluation=made.evaluation)
    assert f"Test set: {counted}." in items["answer"].tolist()


def test_scores_of_patients_are_not_counted_as_images(tmp_path):
    films = Predictions("abcde", [0, 1, 1, 0, 0], [0.1, 0.9, 0.8, 0.3, 0.2], list("pqrss"))
    p = films.aggregate()
    table = pd.DataFrame({"image_id": p.ids, "sex": list("FFMM")})
    made = write_report(p, tmp_path, threshold=0.5, studies=table)
    text = check_page(made.html)[0]
    assert "Tested on 4 patients: " in text
    assert "A patient is called" in text
    assert "only 2 patients in the smaller class" in text
    assert not re.search(r"(?<!same healthy )images?\b", re.sub("<[^>]*>", " ", text))
    told = json.loads(made.json.read_text(encoding="utf-8"))
    assert (told["unit"], told["n_patients"]) == ("patient", 4)
    assert "n_images" not in told
    items = checklist(tmp_path / "list.html", evaluation=made.evaluation)
    assert "Test set: 4 patients." in items["answer"].tolist()


def test_the_first_screen_answers(report, cohort):
    *_, threshold = cohort
    text, _ = check_page(report.html)
    first = " ".join(text.split("<h2>")[0].split())
    (cleared, alarms), (missed, found) = report.evaluation.confusion.to_numpy()
    assert f"Of {found + missed} images with &lt;pneumonia&gt;, the model finds {found}" in first
    assert f"Of {cleared + alarms} others, {alarms} are false alarms" in first
    assert f"score of {threshold}" in first.replace("&gt;", ">")
    assert f"Tested on 160 images of 80 patients: normal: {cleared + alarms}," in first
    assert "ROC curve: the area under it is" in first
    for metric in ("sensitivity", "specificity", "auc"):
        assert f'class="value">{report.evaluation[metric].value:.2f}<' in first


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="counts pages with Chromium")
@pytest.mark.parametrize("kind", ["two classes", "patients not known", "14 classes", "7 grades"])
def test_a_report_with_thirty_groups_prints_on_three_pages(tmp_path, kind):
    rng = np.random.default_rng(1)
    count, n = {"14 classes": 14, "7 grades": 7}.get(kind, 2), 420
    true = np.arange(n) % count
    score = np.eye(count)[true] * 0.3 + 0.7 * rng.dirichlet([1] * count, n)
    names = [f"image {k}" for k in range(n)]
    p = Predictions(
        names, true, score[:, 1] if count == 2 else score,
        None if kind == "patients not known" else [f"p{k // 2}" for k in range(n)],
    )  # fmt: skip
    studies = pd.DataFrame({
        "image_id": names, "sex": rng.choice(["F", "M"], n), "age": rng.uniform(0, 95, n),
        "view": rng.choice(["PA", "AP", "LL", "RL"], n),
        "site": rng.choice([f"Hospital {k:02}" for k in range(19)], n),
    })  # fmt: skip
    made = write_report(p, tmp_path, studies=studies, ordinal=kind == "7 grades")
    groups = made.subgroups.table.drop_duplicates(["attribute", "group"])
    assert len(groups) >= 29
    assert ("positives" in groups) == (count == 2)  # of many classes all would be positive
    check_page(made.html)
    assert 1 <= printed_pages(made.html, tmp_path) <= 3


@pytest.mark.skipif(CHROMIUM is None, reason="counts pages with Chromium")
def test_the_report_prints_on_three_pages(report, tmp_path):
    assert 1 <= printed_pages(report.html, tmp_path) <= 3


def printed_pages(page, tmp_path):
    """Print a page to paper, and count the sheets."""
    pdf = tmp_path / "report.pdf"
    subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer",
         f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={pdf}", page.as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return len(re.findall(rb"/Type\s*/Page[^s]", pdf.read_bytes()))


@pytest.mark.parametrize("name", ["report.html", "report.json", "predictions.csv"])
def test_all_files_of_a_report_are_written_or_none(cohort, tmp_path, name):
    test, studies, threshold = cohort
    for other in ("report.html", "report.json", "predictions.csv"):
        (tmp_path / other).write_text("old", encoding="utf-8")
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(IsADirectoryError, match=re.escape(name)):
        write_report(test, tmp_path, threshold=threshold, studies=studies)
    kept = {p.name: p.read_text(encoding="utf-8") for p in tmp_path.iterdir() if p.is_file()}
    assert set(kept) == {"report.html", "report.json", "predictions.csv"} - {name}
    assert set(kept.values()) == {"old"}


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_leaves_the_last_report(cohort, tmp_path, monkeypatch, fault):
    test, _, threshold = cohort
    write_report(test, tmp_path, threshold=threshold)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    calls = []

    def fail_at_the_last(handle):
        calls.append(handle)
        if len(calls) == 3:
            raise fault

    monkeypatch.setattr("medimg.storage.os.fsync", fail_at_the_last)
    with pytest.raises(type(fault)):
        write_report(test, tmp_path, threshold=0.9)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


ODD = [
    "$x$ $\\bad$ <script>alert(1)</script>",
    "=HYPERLINK(1)",
    "@a\rb",
    "{{ 7 * 7 }} {positive}\udcff",
    "\u202e81 שלום 😀\nnext",  # turns the text after it, so that 18 reads 81
]


@pytest.mark.parametrize("name", ODD)
def test_no_text_of_a_user_is_a_formula_or_markup(tmp_path, rng, name):
    """Class, site, image and patient names come from folders that anyone may have named."""
    true, n = np.arange(90) % 3, 90
    score = rng.dirichlet([1, 1, 1], n)
    ids = [f"{name}{k}" for k in range(n)]
    studies = pd.DataFrame({"image_id": ids, "path": ids, "site": [name, "north"] * 45})
    for p in (
        Predictions(ids, true, score, [f"{name}{k // 2}" for k in range(n)], ("a", name, "c")),
        Predictions(ids, true > 0, score[:, 0], None, ("normal", name)),
    ):
        made = write_report(p, tmp_path, studies=studies)
        text, _ = check_page(made.html)
        assert "<script" not in text
        assert "\u202e" not in text
        assert name.startswith("{{") == ("{{ 7 * 7 }} {positive}\\udcff" in text)
        table = read_table(made.predictions)
        assert table["image_id"].tolist() == table["path"].tolist() == ids
        scores = [column for column in table if column.startswith("y_score")]
        assert scores == (
            ["y_score"] if p.is_binary else ["y_score_a", f"y_score_{name}", "y_score_c"]
        )
        for line in made.predictions.read_bytes().splitlines():
            assert line.lstrip(b'"')[:1] not in (b"=", b"+", b"-", b"@", b"\t")


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((0.1, -0.001, 0.2), "0.10 (0.00 to 0.20)"), ((-0.1, -0.2, -0.04), "-0.10 (-0.20 to -0.04)")],
)
def test_an_interval_stays_on_one_line_and_has_no_negative_zero(numbers, text):
    words = f"{Estimate(*numbers):.2f}"
    assert words == text
    assert shown(words) == text.replace(" to ", "\u00a0to\u00a0")


@pytest.mark.parametrize("count", [3, 5, 12, 30])
def test_many_classes_make_a_page_too(tmp_path, rng, count):
    true = np.arange(20 * count) % count
    scores = rng.dirichlet([1] * count, len(true))
    names = [str(i) for i in range(len(true))]
    sex = pd.DataFrame({"image_id": names, "sex": ["F", "M"] * (len(true) // 2)})
    p = Predictions(names, true, scores, [f"p{i}" for i in range(len(true))])
    made = write_report(p, tmp_path, ordinal=True, studies=sex)
    text, pictures = check_page(made.html)
    assert pictures == 4  # ROC, confusion, reliability, groups
    right = int((p.predicted() == true).sum())
    assert f"names the right one of {count} classes for {right} of {len(true)} images" in text
    assert "Kappa quadratic" in text
    assert "Each class against the rest" in text
    assert "Each grade or worse against the grades below it" in text
    assert f"ROC curves of {min(count, 7)} classes" in text
    table = made.subgroups.table.set_index("group")
    assert set(table["metric"]) == {"accuracy"}
    called = p.predicted() == true
    assert table.loc["F", "value"] == pytest.approx(called[::2].mean())
    assert table.loc["M", "value"] == pytest.approx(called[1::2].mean())
    numbers = json.loads(made.json.read_text(encoding="utf-8"))
    assert len(numbers["calibration"]["brier"]) == min(count, 7)
    assert len(numbers["per_class"]) >= count
    cuts = {row["cut"] for row in numbers["per_cut"]}
    assert len(cuts) == count - 1


@pytest.mark.parametrize("true", [[1], [1, 1, 1], [0, 0, 0]])
def test_a_hopeless_test_set_still_makes_a_page(tmp_path, true):
    p = Predictions([str(i) for i in range(len(true))], true, [0.7] * len(true))
    text, _ = check_page(write_report(p, tmp_path, threshold=0.5).html)
    assert "not defined" in text
    assert "(no " in text or "no images" in text
    json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))


def test_an_image_that_no_study_has_is_named(cohort, tmp_path):
    test, studies, _ = cohort
    with pytest.raises(MetricsError, match=r"the image 'i80' is not in the study table"):
        write_report(test, tmp_path, studies=studies[studies["image_id"] != "i80"])


def test_a_card_says_what_is_missing(report, tmp_path):
    card = ModelCard("demo", intended_use="Teaching, <b>not</b> care.", limits="Synthetic images.")
    model_card(card, tmp_path / "full.html", evaluation=report.evaluation, groups=report.subgroups)
    text, pictures = check_page(tmp_path / "full.html")
    assert pictures == 2
    assert "&lt;b&gt;not&lt;/b&gt;" in text
    assert "This card leaves open: version, users, out of scope" in text
    assert "too small to say" in text
    healthy, ill = report.evaluation.confusion.sum(axis=1)
    assert healthy + ill == 160
    assert f"160 images of 80 patients (normal: {healthy}, &lt;pneumonia&gt;: {ill})." in text
    model_card(card, tmp_path / "bare.html")
    text, _ = check_page(tmp_path / "bare.html")
    assert "Nothing was measured on a test set." in text
    assert "No subgroup of patients was looked at" in text


def test_checklists_answer_only_what_is_known(report, tmp_path):
    items = checklist(tmp_path / "c.html", evaluation=report.evaluation, groups=report.subgroups,
                      card=ModelCard("demo", ethics="Not needed: synthetic."))  # fmt: skip
    check_page(tmp_path / "c.html")
    said = items.set_index(["list", "item"])["answer"]
    assert said["TRIPOD+AI", "18a"] == said["CLAIM", "44"] == ""  # funding: for people to say
    assert said["TRIPOD+AI", "17"] == "Not needed: synthetic."
    assert f"auc {report.evaluation['auc']:.2f}" in said["TRIPOD+AI", "23a"]
    assert "chosen on validation" in said["TRIPOD+AI", "15"]
    assert said["CLAIM", "33"] == ""  # no one tested on external data
    empty = checklist(tmp_path / "empty.html")
    assert (empty["answer"] == "").all()
    assert "0 of 52 items answered" in (tmp_path / "empty.html").read_text(encoding="utf-8")


def test_another_level_is_named(cohort, tmp_path):
    test, _, threshold = cohort
    result = evaluate(test, threshold=threshold, level=0.9)
    model_card(ModelCard("demo"), tmp_path / "c.html", evaluation=result)
    assert "Value (90 % interval)" in check_page(tmp_path / "c.html")[0]
    items = checklist(tmp_path / "l.html", evaluation=result)
    assert items["answer"].str.startswith("90 % confidence intervals: ").any()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            [0.2, 0.3, 0.0, 0.1, 0.1, 0.1],
            "5 of 6 risk thresholds, the lowest 0.10, the highest 0.60.",
        ),
        (
            [0.0, 0.2, 0.2, 0.0, 0.0, 0.0],
            "at 2 of 6 risk thresholds, the lowest 0.20, the highest 0.30.",
        ),
        ([0.1, 0.0, 0.0, 0.0, 0.0, 0.0], "at 0 of 6 risk thresholds."),  # as good as everyone
    ],
)
def test_where_the_model_is_better_counts_thresholds_at_which_it_is(model, words):
    curve = pd.DataFrame({"threshold": np.arange(1, 7) / 10, "model": model,
                          "all": [0.1, 0.1, 0.05, -0.1, -0.2, -0.3]})  # fmt: skip
    assert words in where_better(curve)


def test_checklist_keys(tmp_path):
    items = checklist(tmp_path / "c.html")
    assert not items.isna().any().any()
    assert not items.duplicated(["list", "item"]).any()


def test_items_have_the_published_numbers(tmp_path):
    """TRIPOD+AI: BMJ 2024, table 2; CLAIM: 2024 update, items 1 to 44."""
    items = checklist(tmp_path / "c.html")
    tripod = items[items["list"] == "TRIPOD+AI"]
    published = (
        "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 "
        "15 16 17 18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
    )
    assert tripod["item"].tolist() == published.split()
    for words, some in (
        ("development", "9a 12a 12b 12c 15 22 27a 27b"),
        ("evaluation", "12f 12g 20c 24"),
    ):
        only = tripod["topic"].str.endswith(f"({words} only)")
        assert tripod["item"][only].tolist() == some.split()
    claim = items[items["list"] == "CLAIM"]
    assert claim["item"].tolist() == [str(number) for number in range(1, 45)]


def test_what_groups_were_looked_at_is_performance_and_not_a_remedy(report, tmp_path):
    items = checklist(tmp_path / "c.html", evaluation=report.evaluation, groups=report.subgroups,
                      card=ModelCard("demo", users="Radiologists."))  # fmt: skip
    said = items.set_index(["list", "item"])["answer"]
    assert "by sex, age" in said["TRIPOD+AI", "23a"]
    assert said["TRIPOD+AI", "14"] == ""  # nothing was done to make the model fair
    assert said["TRIPOD+AI", "27b"] == ""  # who they are does not say what they must know


def test_small_groups_of_patients_with_many_classes_are_patients_too(tmp_path):
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(30) % 3, 2)
    people = [f"p{n // 2}" for n in range(60)]
    films = Predictions(range(60), truth, rng.dirichlet(np.ones(3), 60), people)
    table = pd.DataFrame({"image_id": films.aggregate().ids, "site": ["A"] * 25 + ["B"] * 5})
    made = write_report(films.aggregate(), tmp_path, studies=table)
    text = check_page(made.html)[0]
    assert "site B: too small to say: 5 patients of any class" in text
    assert "images" not in re.sub("<[^>]*>", " ", text)

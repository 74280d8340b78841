import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from cl_core.columns import Column, Columns
from cl_core.data.snapshot import GroupCounts
from cl_core.refs import Decision
from cl_core.report.page import render_report
from cl_core.report.report_inputs import ReportInputs
from cl_core.report.summary import summary_markdown
from cl_core.report.wording import format_interval, format_number

Make = Callable[..., ReportInputs]
VOID = {"meta", "img", "br", "path", "use", "rect"}


class Page(HTMLParser):
    """What a browser would see: tags, attributes and text; complains when a tag is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def small(make_inputs: Make, **changes: Any) -> ReportInputs:
    """Inputs without what takes long to draw: few images, so that no map has to be unfolded, and no curves."""
    whole = make_inputs()
    few = {name: getattr(whole, name)[:30] for name in ("embeddings", "labels", "predicted")}
    few["rows"] = whole.rows.select(slice(30))
    return make_inputs(**(few | {"curves": []} | changes))


@pytest.fixture(scope="module")
def page_of_all(make_inputs: Make) -> str:
    """The page of the inputs as they are."""
    return render_report(make_inputs())


def headings(html: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", html)


def test_the_page_needs_nothing_but_itself(page_of_all: str):
    html = page_of_all
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:image/png;base64,", "#")), (tag, name, address)
    assert "@import" not in html
    assert set(re.findall(r"url\(([^)]{1,2})", html)) <= {"#p"}  # clip paths of the figures


def test_every_score_is_shown_with_its_interval(make_inputs: Make, page_of_all: str):
    inputs = make_inputs()
    text = " ".join(Page(page_of_all).text.split())
    for representation in inputs.evaluation.representations.values():
        for name, score in representation.scores.items():
            assert name in text
            assert f"{format_number(score.value)} {format_interval(score)}" in text
    assert "0.884 [0.872, 0.891]" in text
    assert "0.871 [0.859, 0.878]" in text  # the champion's
    assert "0.810 [0.798, 0.817]" in text  # the precision of the last class


@pytest.mark.integration
def test_the_same_inputs_give_the_same_bytes(make_inputs: Make, page_of_all: str):
    assert render_report(make_inputs()) == page_of_all


def test_the_decision_and_its_reason_come_before_the_first_section(page_of_all: str):
    html = page_of_all
    top = html[: html.index("<section>")]
    assert "Version 3 is the champion" in top
    assert "version 3 is promoted: linear_probe.accuracy 0.884" in top
    assert "+0.013 [+0.001, +0.020]" in top
    assert "models:/small@champion" in top


def test_a_version_that_was_not_promoted_is_fetched_by_its_number(make_inputs: Make):
    refused = Decision(name="small", version=3, champion=2, promoted=False, reason="no gain", gain=None)
    top = render_report(small(make_inputs, decision=refused)).split("<section>")[0]
    assert "Version 3 is not the champion" in top
    assert "Users fetch version 2." in top
    assert "models:/small/3&#34;" in top
    assert "@champion" not in top


def test_a_version_that_was_rolled_back_and_the_one_that_is_back_have_one_decision(make_inputs: Make):
    reason = "version 3 is rolled back, version 2 is the champion again"
    rollback = Decision(name="small", version=3, champion=2, promoted=False, reason=reason)
    gone = render_report(small(make_inputs, decision=rollback)).split("<section>")[0]
    assert "Version 3 is not the champion" in gone and "Users fetch version 2." in gone
    back = render_report(small(make_inputs, decision=rollback, version=2, uri="models:/small/2")).split("<section>")[0]
    assert "Version 2 is the champion" in back and "Users fetch" not in back
    assert reason in gone and reason in back


def test_a_version_that_has_not_been_decided_on_says_so(make_inputs: Make):
    html = render_report(small(make_inputs, decision=None))
    assert "No decision yet" in html and "The gate has not evaluated this version" in html


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "$\\frac{1}$", "服 & Co"])
def test_what_people_named_is_shown_and_never_run(make_inputs: Make, hostile: str):
    inputs = small(
        make_inputs,
        classes=["Bag", hostile, "Shirt"],
        title=hostile,
        specs={hostile: {"source": hostile}},
        lineage=[(hostile, hostile, hostile)],
        links={hostile: "javascript:alert(1)"},
    )
    page = Page(render_report(inputs))
    tags = {tag for tag, _ in page.tags}
    assert "script" not in tags
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert not any((attributes.get("href") or "").startswith("javascript") for _, attributes in page.tags)
    assert page.text.count(hostile) >= 8  # title twice, per class, figures, gallery, lineage, specs


def test_data_without_labels_has_no_confusion_and_says_why(label_free: ReportInputs):
    html = render_report(label_free)
    assert "Confusion" not in headings(html)
    assert "Per class" not in html
    assert "Samples per class" not in html
    assert html.count("The test split has no labels:") == 1
    assert "linear_probe: the data have no labels" in html
    assert {"Scores", "Map of the test embeddings", "Nearest neighbors", "Training", "Data"} <= set(headings(html))
    assert "geometry.effective_rank" in html.split("<section>")[0]


def test_some_images_without_a_label_are_shown_without_a_class(make_inputs: Make):
    labels = small(make_inputs).labels
    assert labels is not None
    some = np.where(np.arange(len(labels)) < 8, -1, labels)
    assert "Confusion" in headings(render_report(small(make_inputs, labels=some, predicted=None)))


@pytest.mark.integration
def test_photographs_of_many_classes_stay_under_three_megabytes(make_inputs: Make):
    noise = np.random.default_rng(0).integers(0, 256, (240, 160, 160, 3), dtype=np.uint8)
    assert len(render_report(make_inputs(rows=Columns({"image": Column(noise)})))) < 3_000_000


def test_what_only_the_method_knows_has_a_curve_and_what_was_never_measured_has_none(make_inputs: Make):
    curves = [{"step": step, "loss": 3.0, "prototype_entropy": 4.0, "knn_accuracy": None} for step in range(3)]
    html = render_report(small(make_inputs, curves=curves))
    assert "<h3>Prototype entropy</h3>" in html
    assert "<h3>Held-out accuracy of nearest neighbors</h3>" not in html


def test_a_report_of_one_image_is_written(make_inputs: Make):
    inputs = make_inputs()
    one = {name: getattr(inputs, name)[:1] for name in ("embeddings", "labels", "predicted")}
    one["rows"] = inputs.rows.select(slice(1))
    assert "Nearest neighbors" not in headings(
        render_report(make_inputs(**one, curves=[], specs={}, links={}, timings=[]))
    )


def test_arrays_of_different_length_are_refused(make_inputs: Make):
    with pytest.raises(ValueError, match=r"one row per test sample in each array; got \{'rows': 7, 'embeddings': 240"):
        make_inputs(rows=Columns({"image": Column(np.zeros((7, 8, 8, 1), np.uint8))}))


def test_a_label_without_a_class_is_refused(make_inputs: Make):
    with pytest.raises(ValueError, match="labels must be -1 or the index of one of 3 classes; they range from 5 to 5"):
        make_inputs(labels=np.full(240, 5))


def test_classes_of_few_test_samples_are_named_as_those_whose_intervals_are_unreliable(make_inputs: Make) -> None:
    inputs = make_inputs()
    warning = (
        "2 of the classes have fewer than 5 test samples (Bag 4, Shirt 1): intervals of macro scores are unreliable"
    )
    assert "unreliable" not in Page(render_report(small(make_inputs))).text
    few = inputs.evaluation.trained.model_copy(update={"confusion": [[4, 0, 0], [0, 5, 1], [0, 0, 1]]})
    representations = {**inputs.evaluation.representations, "trained": few}
    evaluation = inputs.evaluation.model_copy(update={"representations": representations})
    rare = small(make_inputs, evaluation=evaluation)
    assert warning in Page(render_report(rare)).text
    assert warning in summary_markdown(rare)


def test_many_near_duplicates_across_splits_are_a_warning_beside_the_scores(make_inputs: Make) -> None:
    few = make_inputs().near_duplicates
    assert few is not None and few.test_share < 0.05
    many = few.model_copy(update={"test_share": 0.25, "origins": [("train/<a>.png", "test/b.png")]})
    warning = "25.0% of the test images resemble a training image, for example train/<a>.png and test/b.png"
    assert "scores may be too high" not in Page(render_report(small(make_inputs))).text
    inputs = small(make_inputs, near_duplicates=many)
    scores = Page(render_report(inputs)).text.partition("Scores")[2].partition("Confusion")[0]
    assert f"{warning}: scores may be too high." in scores
    assert "25.0% of the test images resemble a training image" in summary_markdown(inputs)


def test_groups_in_both_splits_of_the_source_are_a_warning_beside_the_scores(make_inputs: Make) -> None:
    groups = GroupCounts(
        splits={"test": 5, "train": 9},
        largest=4,
        unnamed=0,
        drawn=False,
        parted=2,
        parted_origins=[("train/<p1>/a.png", "test/p1/b.png")],
    )
    plain = make_inputs().profile
    warning = (
        "2 groups have samples in both splits, because the source names these splits, for example train/<p1>/a.png"
    )
    assert groups.phrase == "12 groups (9 train, 5 test; the largest has 4 samples)"
    assert "samples in both splits" not in Page(render_report(small(make_inputs))).text
    inputs = small(make_inputs, profile=plain.model_copy(update={"groups": groups}))
    scores = Page(render_report(inputs)).text.partition("Scores")[2].partition("Confusion")[0]
    assert warning in scores
    assert "2 groups have samples in both splits" in summary_markdown(inputs)


def test_pairs_that_were_verified_have_a_curve_for_each_representation(make_inputs: Make, page_of_all: str) -> None:
    """The lines of the trained encoder, the baseline and the champion, each in its color, and that of chance."""
    assert "<h2>Verification</h2>" not in page_of_all
    inputs = make_inputs()
    points = [(0.0, 0.0), (0.01, 0.5), (0.1, 0.9), (1.0, 1.0)]
    measured = {
        name: report.model_copy(update={"roc": points if name != "untrained" else []})
        for name, report in inputs.evaluation.representations.items()
    }
    verified = inputs.evaluation.model_copy(update={"representations": measured})
    section = render_report(replace(inputs, evaluation=verified, champion_roc=points)).split("<h2>Verification</h2>")[1]
    section = section.split("</section>")[0]
    legend = re.findall(r'<span class="dot (\w+)"></span>([\w ]+)</span>', section)
    assert legend == [("trained", "trained"), ("raw_pixels", "raw pixels"), ("champion", "champion")]
    for color, lines in (("trained", 1), ("baseline", 1), ("champion", 1), ("untrained", 0), ("muted", 1)):
        assert len(re.findall(rf"stroke: var\(--{color}\)", section)) >= lines, color
    assert "false accept rate" in section and "of classes never trained on" in section

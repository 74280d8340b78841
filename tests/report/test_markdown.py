"""Markdown artifacts: what a person reads in the Prefect UI, and that no name becomes markup."""

from collections.abc import Callable

from cl_core.data.snapshot import SnapshotProfile
from cl_core.data.validation import NearDuplicates, ValidationReport
from cl_core.refs import Decision, Score
from cl_core.report.markdown import render_markdown

Make = Callable[[list[str]], SnapshotProfile]


def profile_markdown(profile: SnapshotProfile, validation: ValidationReport, *, note: str, changed: str) -> str:
    return render_markdown(
        "data.md.j2", profile=profile, modality=profile.kind, validation=validation, note=note, changed=changed
    )


HOSTILE = "<b> | [x](y) `z`\n# w"
ESCAPED = r"\<b\> \| \[x\](y) \`z\` \# w"


def validation(*, complete: bool = True) -> ValidationReport:
    near = NearDuplicates(
        pairs=4, test_samples=3, test_share=0.0125, plain_samples=0, complete=complete, examples=[("a", "b")]
    )
    return ValidationReport(
        train_samples=240,
        test_samples=240,
        classes=3,
        smallest_class=80,
        unlabeled=0,
        quarantined=2,
        quarantined_share=2 / 485,
        duplicates=3,
        near_duplicates=near,
    )


def test_the_data_page_has_counts_quarantine_near_duplicates_and_classes(make_profile: Make):
    page = profile_markdown(
        make_profile(["Bag", "Coat"]), validation(), note="new snapshot", changed="no earlier snapshot of small"
    )
    assert page == (
        "# Data: small\n\n| | |\n|---|---|\n| What changed | no earlier snapshot of small |\n"
        "| Ingestion | new snapshot |\n"
        f"| Snapshot | {'c' * 64} |\n| Samples | 240 train, 240 test |\n| Unlabeled | 0 train, 0 test |\n"
        "| Quarantined | 2 unreadable of 485 inputs (0.4%) |\n"
        "| Passed over | 1 .csv, 2 hidden |\n| Copies merged | 3 |\n"
        "| Near-duplicates | 3 test images (1.2%) resemble a training image, in 4 pairs |\n"
        "| Image sizes | 8 x 8 (480) |\n| Channels | grayscale |\n| Channel mean | 0.286 |\n| Channel std | 0.353 |\n"
        "| Formats | 480 PNG |\n\n## 2 classes\n\n"
        "| class | train | test |\n|---|---|---|\n| Bag | 80 | 80 |\n| Coat | 80 | 80 |\n"
    )


def test_of_many_classes_and_sizes_the_first_are_listed_and_lower_bounds_are_called_so(make_profile: Make):
    sizes = [{"width": 8 + side, "height": 8, "count": 12 - side} for side in range(9)]
    many = make_profile([f"class {number:02}" for number in range(60)])
    many = many.model_copy(update={"content": many.content | {"sizes": sizes, "distinct_sizes": 12}})
    page = profile_markdown(many, validation(complete=False), note="", changed="")
    assert "## 60 classes" in page and "| class 49 |" in page and "class 50" not in page
    assert page.endswith("\n\n_and 10 more_\n")
    assert "15 x 8 (5) and 4 more |" in page
    assert "at least 3 test images (1.2%) resemble a training image, in at least 4 pairs" in page


def test_the_decision_page_says_what_was_decided_and_why():
    gain = Score(value=0.013, low=0.001, high=0.02)
    decision = Decision(name="small", version=3, champion=2, promoted=False, reason="a reason", gain=gain)
    assert render_markdown("decision.md.j2", decision=decision) == (
        "# small version 3 is not promoted\n\n| | |\n|---|---|\n| Model | small |\n| Version | 3 |\n| Promoted | no |\n"
        "| Reason | a reason |\n| Gain over the champion | +0.013 \\[+0.001, +0.020\\] |\n"
        "| Champion now | models:/small/2 |\n"
    )
    first = decision.model_copy(update={"champion": 0, "gain": None})
    assert render_markdown("decision.md.j2", decision=first).endswith(
        "| Gain over the champion | no champion to compare with |\n| Champion now | none |\n"
    )


def test_links_are_addresses_to_click_on_or_code_to_copy():
    links = {
        "MLflow run": "http://localhost:5000/#/runs/3f1",
        "Report": "/home/a`b.html",
        HOSTILE: "javascript:x",
    }
    assert render_markdown("links.md.j2", links=links) == (
        f"- MLflow run: <http://localhost:5000/#/runs/3f1>\n- Report: `/home/a b.html`\n- {ESCAPED}: `javascript:x`\n"
    )


def test_names_and_reasons_cannot_become_markup(make_profile: Make):
    decision = Decision(name="small", version=3, champion=3, promoted=True, reason=HOSTILE, gain=None)
    assert f"| Reason | {ESCAPED} |\n" in render_markdown("decision.md.j2", decision=decision)
    page = profile_markdown(make_profile([HOSTILE]), validation(), note=HOSTILE, changed=HOSTILE)
    assert page.count(ESCAPED) == 3 and "<b>" not in page

from collections.abc import Callable

import pytest

from cl_core.refs import Decision, Score
from cl_core.registry import MODALITIES
from cl_core.report.report_inputs import ReportInputs
from cl_core.report.summary import fetch_lines, score_rows, summary_markdown
from cl_core.report.wording import format_duration, format_gain, format_interval, format_number, sparkline

Make = Callable[..., ReportInputs]


def test_a_sparkline_runs_from_the_least_to_the_greatest():
    assert sparkline([7, 6, 5, 4, 3, 2, 1, 0]) == "█▇▆▅▄▃▂▁"


@pytest.mark.parametrize(("values", "drawn"), [([], ""), ([3.0], "▁"), ([2.0, 2.0, 2.0], "▁▁▁")])
def test_a_sparkline_of_nothing_or_of_a_constant(values: list[float], drawn: str):
    assert sparkline(values) == drawn


def test_a_long_sparkline_is_cut_to_its_width():
    assert sparkline(list(range(1000)), width=8) == "▁▂▃▄▅▆▇█"


def test_score_rows_hold_value_and_interval_beside_baselines_and_champion(make_inputs: Make):
    inputs = make_inputs()
    assert score_rows(inputs.evaluation, inputs.champion)[0] == {
        "score": "linear_probe.accuracy",
        "trained": "0.884 [0.872, 0.891]",
        "untrained": "0.792 [0.780, 0.799]",
        "raw pixels": "0.842 [0.830, 0.849]",
        "champion": "0.871 [0.859, 0.878]",
    }
    assert score_rows(inputs.evaluation, inputs.champion)[1]["champion"] == "-"
    assert "champion" not in score_rows(inputs.evaluation)[0]


def test_the_summary_has_verdict_scores_loss_and_places(make_inputs: Make):
    lines = summary_markdown(make_inputs()).splitlines()
    assert lines[0] == "# small retrained"
    assert lines[2].startswith("**small version 3 is the champion.** version 3 is promoted")
    assert "| score | trained | untrained | raw pixels | champion |" in lines
    assert sum(line.startswith("| linear\\_probe.accuracy | 0.884 \\[0.872, 0.891\\]") for line in lines) == 1
    assert "Loss 6.000 `" + sparkline([6.0 - i / 100 for i in range(500)]) + "` 1.010" in lines
    assert "- Model: `models:/small/3`" in lines
    assert "- MLflow run: <http://localhost:5000/#/runs/3f1>" in lines


def test_the_summary_of_data_without_labels_has_the_scores_there_are(label_free: ReportInputs):
    summary = summary_markdown(label_free)
    assert "geometry.effective\\_rank" in summary
    assert "_linear\\_probe: the data have no labels_" in summary


def test_names_cannot_break_the_markdown(make_inputs: Make):
    decision = Decision(name="small", version=3, champion=0, promoted=False, reason="a | b\n# c <i>", gain=None)
    lines = summary_markdown(make_inputs(title="<script> | `x`", decision=decision)).splitlines()
    assert lines[0] == "# \\<script\\> \\| \\`x\\`"
    assert lines[2] == "**small version 3 is not the champion.** a \\| b \\# c \\<i\\>"


def test_three_lines_of_python_fetch_the_model_and_two_more_its_second_program():
    for modality in MODALITIES.names():
        lines = fetch_lines('models:/it"s/3', modality)
        assert len(lines) == (5 if modality == "image_text" else 3)
        compile("\n".join(lines), "fetch", "exec")
    assert fetch_lines("models:/a/1", "image")[2] == (
        "embeddings = model.predict(images)  # uint8 (N, H, W, C) -> float32 (N, D), unit rows"
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.87149, "0.871"), (-2.74, "-2.740"), (43.21, "43.2"), (999.94, "999.9"), (12345.6, "12,346")],
)
def test_numbers_have_the_digits_that_matter(value: float, written: str):
    assert format_number(value) == written


def test_intervals_and_gains():
    score = Score(value=0.0131, low=-0.0021, high=0.02)
    assert format_interval(score) == "[-0.002, 0.020]"
    assert format_gain(score) == "+0.013 [-0.002, +0.020]"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (134, "2 min 14 s"), (11_100, "3 h 5 min")],
)
def test_durations_have_two_units_at_most(seconds: float, written: str):
    assert format_duration(seconds) == written

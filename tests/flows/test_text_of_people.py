"""What people typed is shown as they typed it: nothing in a reason, path or name is rich markup."""

import shlex
from pathlib import Path
from types import SimpleNamespace

from registering import evaluation

from cl_core.refs import Decision, ModelRef
from flows.cli.render import _show_retraining
from flows.cli.result_tables import text_table, wide_console
from tasks.runtime.console import bar_over, echo

TYPED = "approved, see [/wiki/models] and [ticket 12] [bold]now[/bold] \\[x]"


def test_a_message_about_a_step_is_shown_as_it_is(capsys):
    echo("promote", TYPED)
    assert capsys.readouterr().err == f"       promote  {TYPED}\n"


def test_a_table_shows_its_title_columns_and_cells_as_they_are(capsys):
    wide_console().print(text_table(["[reason]", "path"], [[TYPED, "/data/[old]/e.parquet"]], "[/model]"))
    printed = " ".join(capsys.readouterr().out.split())
    for text in (TYPED, "/data/[old]/e.parquet", "[reason]", "[/model]"):
        assert text in printed


def test_a_line_of_a_result_is_shown_as_it_is(capsys):
    wide_console().print(TYPED)
    assert capsys.readouterr().out == f"{TYPED}\n"


def test_a_bar_takes_any_text(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # A terminal, for rich.
    with bar_over("pretrain") as update:
        update(1, 2, TYPED)
    assert "[/wiki/models]" in capsys.readouterr().err


def test_the_setting_to_fetch_a_model_with_can_be_copied_into_a_shell(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("CL_HOME", str(tmp_path / "a folder [1] & more"))
    retrained = SimpleNamespace(
        evaluation=evaluation(),
        model=ModelRef(
            name="parts", version=1, uri="models:/parts/1", run_id="a" * 32, training_digest="b" * 64, created=True
        ),
        decision=Decision(name="parts", version=1, champion=0, promoted=False, reason="refused"),
        report=SimpleNamespace(path=Path("report.html")),
        snapshot=SimpleNamespace(modality="image"),
    )
    _show_retraining(retrained, 1.0)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Fetch it (with "))
    assert shlex.split(line.removeprefix("Fetch it (with ").removesuffix("):")) == [
        f"MLFLOW_TRACKING_URI=sqlite:///{tmp_path}/a folder [1] & more/mlflow.db"
    ]

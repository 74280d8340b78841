"""What people typed is shown as they typed it: nothing in a reason, path or name is rich markup."""

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

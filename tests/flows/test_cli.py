"""The command line as a person meets it: quick help, and one clear sentence for what is wrong."""

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import pytest
from cyclopts.utils import default_name_transform

from cl_core.registry import ENCODERS, EVALUATIONS, LOSSES, METHODS, SOURCES, VIEWS
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, PromotionSpec, TrainingSpec
from flows.cli import commands
from flows.cli.app import main

CL = str(Path(sys.executable).with_name("cl"))
# A program of its own imports this copy of the project, whichever is installed.
ROOT = str(Path(__file__).parents[2])
HEAVY = {"torch", "torchvision", "numpy", "pyarrow", "pandas", "prefect", "ray", "mlflow", "sklearn", "matplotlib"}
GROUPS = {
    "data": DataSpec,
    "training": TrainingSpec,
    "evaluation": EvaluationSpec,
    "promotion": PromotionSpec,
    "compute": ComputeSpec,
}
COMMANDS = {
    "retrain": ["data", "training", "evaluation", "promotion", "compute"],
    "ingest": ["data", "compute"],
    "validate": ["data", "compute"],
    "pretrain": ["data", "training", "compute"],
    "evaluate": ["data", "training", "evaluation", "compute"],
    "register": ["data", "training", "evaluation", "compute"],
    "report": ["data", "training", "evaluation", "compute"],
    "evaluate-model": ["data", "evaluation", "compute"],
}
DATA = ("--data.name", "parts", "--data.source", "image_folder")
OTHERS = ["compare", "embed", "search", "atlas", "models", "promote", "rollback", "explain"]
EVERY = [*COMMANDS, *OTHERS, "up", "down", "doctor", "prune"]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def program(*arguments, folder, **settings):
    """Run the installed program in an empty folder, with nothing of ours in the environment."""
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", "HOME": str(folder), "PYTHONPATH": ROOT, **settings}
    done = subprocess.run(
        [CL, *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        check=False,
        cwd=folder,
        env=environment,
        timeout=60,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def cl(tmp_path, monkeypatch, capsys):
    """The function that the program calls, in this process: in an empty folder, with nothing of ours around it."""

    def calling(*arguments, **settings):
        environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", "HOME": str(tmp_path), **settings}
        with monkeypatch.context() as patch, mock.patch.dict(os.environ, environment, clear=True):
            patch.chdir(tmp_path)
            patch.setattr("sys.argv", ["cl", *arguments])
            code = 0
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
        return Ended(code, *capsys.readouterr())

    return calling


@pytest.fixture
def refusal(cl):
    """A function that gives the sentence of a command's refusal, after checking that it refuses as it should."""

    def refusing(*arguments, **settings):
        return sentence_of(cl(*arguments, **settings))

    return refusing


def sentence_of(ended):
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ") and ended.err.endswith("\n")
    assert len(ended.err.splitlines()) == 1 and "Traceback" not in ended.err
    return ended.err.removeprefix("error: ").removesuffix("\n")


REFUSED_PROGRAMS = {
    ("retrain", "--training.method", "simclrr"): "training.method: there is no method named 'simclrr'",
    # In a program just started, pydantic has not built the spec's own validator yet and titles its errors otherwise.
    ("retrain", "--data.source", "image_folder"): "data.name: required, and not given; for example: --data.name",
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """How some commands end as programs, by their arguments; a program's start takes a second of a core."""
    folder = tmp_path_factory.mktemp("programs")
    ended = {
        arguments: program(*arguments, folder=folder)
        for arguments in ((), ("--help",), ("--version",), *REFUSED_PROGRAMS)
    }
    assert list(folder.iterdir()) == []
    return ended


def option(group, field):
    return f"--{group}.{default_name_transform(field)}"


def test_help_lists_the_commands_and_the_settings(programs):
    done = programs["--help",]
    assert (done.code, done.err) == (0, "")
    for word in [*EVERY, "--recipe"]:
        assert word in done.out
    for setting in ["CL_HOME", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "RAY_ADDRESS", "CL_NOTIFY"]:
        assert setting in done.out


def test_no_command_at_all_shows_the_help(programs):
    assert programs[()].out == programs["--help",].out


def test_the_version_is_that_of_the_package(programs):
    assert programs["--version",] == Ended(0, version("counterpoint") + "\n", "")


@pytest.mark.parametrize("arguments", REFUSED_PROGRAMS)
def test_the_program_refuses_on_stderr_with_code_2_as_its_function_does(programs, cl, arguments):
    assert programs[arguments] == cl(*arguments)
    assert sentence_of(programs[arguments]).startswith(REFUSED_PROGRAMS[arguments])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_shows_every_field_with_its_description_and_every_name(tmp_path, cl, command):
    done = cl(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[2].strip() == commands.COMMANDS[command].summary
    # The words of the table, without its lines and breaks.
    shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.out).split())
    wanted = [", ".join(registry.names()) for registry in (SOURCES, VIEWS, ENCODERS, LOSSES, METHODS, EVALUATIONS)]
    for group in COMMANDS[command]:
        for field, info in GROUPS[group].model_fields.items():
            wanted += [f"{option(group, field)} ", " ".join(info.description.replace("`", "").split())[:40]]
    assert [words for words in wanted if words not in shown] == []
    # Where existing results are read, there is nothing to force.
    assert "--recipe" in shown and ("--force" in shown) is (command not in ("report", "evaluate-model"))
    assert list(tmp_path.iterdir()) == []


def test_the_help_of_a_command_begins_with_its_summary_and_describes_every_option(tmp_path, cl):
    summaries, undescribed, rest = {}, [], [name for name in EVERY if name not in COMMANDS]
    for command in rest:
        lines = cl(command, "--help").out.splitlines()
        assert lines[0].startswith(f"Usage: cl {command} "), command
        summaries[command] = lines[2].strip()
        rows = [re.sub(r"\[.*", "", line.strip("│ ")) for line in lines if re.match(r"│ [*]?\s*(--|[A-Z-]+ --)", line)]
        assert rows, command
        undescribed += [f"{command}: {row}" for row in rows if not re.search(r"\S {2,}\S", row)]
    assert summaries == {name: commands.COMMANDS[name].summary.replace("`", "") for name in rest}
    assert undescribed == []
    assert list(tmp_path.iterdir()) == []


def imported_by(folder, *commands):
    """The modules that a fresh process holds after these commands, and the first that brought each; nothing is left."""
    code = (
        "import json, sys\n"
        "from flows.cli.app import main\n"
        "heavy = {}\n"
        f"for arguments in {list(commands)!r}:\n"
        "    sys.argv = ['cl', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "    for module in sys.modules: heavy.setdefault(module, ' '.join(arguments))\n"
        "print(json.dumps(heavy), file=sys.stderr)"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": ROOT}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder, env=environment
    )
    assert list(folder.iterdir()) == []
    return json.loads(done.stderr.splitlines()[-1])


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The modules that a fresh process holds after help and refusals of other commands than flows."""
    functions = [[name, "--help"] for name, command in commands.COMMANDS.items() if not command.is_flow]
    folder = tmp_path_factory.mktemp("imports")
    return imported_by(folder, ["--help"], ["--version"], ["up", "--json"], *functions)


def test_the_list_of_commands_and_commands_that_are_no_flows_import_nothing_heavy(imported):
    assert "flows.cli.app" in imported
    assert {module: command for module, command in imported.items() if module in HEAVY} == {}


@pytest.fixture(scope="module")
def imported_by_flows(tmp_path_factory):
    """The modules that a fresh process holds after help and refusals of flows, and of unknown commands."""
    flows = [[name, "--help"] for name, command in commands.COMMANDS.items() if command.is_flow]
    refused = [["retrain", "--training.method", "x"], ["report", "--model-name", "a b"], ["measure", "--colour"]]
    return imported_by(tmp_path_factory.mktemp("imports"), *flows, *refused, ["retrian"])


def test_the_help_and_the_refusals_of_flows_import_prefect_but_not_what_their_steps_use(imported_by_flows):
    assert "prefect" in imported_by_flows
    steps = {"torch", "torchvision", "pandas", "ray", "mlflow", "sklearn", "matplotlib"}
    assert {module: command for module, command in imported_by_flows.items() if module in steps} == {}


@pytest.fixture(scope="module")
def imported_with_flows(tmp_path_factory):
    """The modules that a fresh process holds once it has imported every flow."""
    code = (
        "import importlib, pkgutil, sys, flows\n"
        "for module in pkgutil.iter_modules(flows.__path__): importlib.import_module(f'flows.{module.name}')\n"
        "print(*sys.modules)"
    )
    folder = tmp_path_factory.mktemp("flows")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": ROOT}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder, env=environment
    )
    return set(done.stdout.split())


def test_flows_are_imported_without_what_their_steps_use(imported_with_flows):
    """Prefect imports a flow once more to cancel a run of it, and `cl up` all of them before it is ready."""
    assert "flows.retrain" in imported_with_flows
    assert not {"torch", "torchvision", "ray", "mlflow", "sklearn"} & imported_with_flows


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["retrain", "--training.method", "simclrr"],
            r"training\.method: there is no method named 'simclrr' \(did you mean 'simclr'\?\); choose one of: .*",
        ),
        (
            ["evaluate", "--evaluation.protocols", "knn", "--evaluation.protocols", "guess"],
            r"evaluation\.protocols\.1: there is no evaluation named 'guess'; choose one of: .*linear_probe.*",
        ),
        (
            ["retrain", "--training.learning-rate", "-1"],
            r"training\.learning_rate: input should be greater than 0; got '-1'",
        ),
        (
            ["pretrain", "--training.epochs", "two"],
            r"training\.epochs: input should be a valid integer, unable to parse string as an integer; got 'two'",
        ),
        (
            ["pretrain", "--training.optimizer", "adam"],
            r"training\.optimizer: input should be 'adamw', 'sgd' or 'lars'; got 'adam'",
        ),
        (
            ["retrain", *DATA, "--training.lerning-rate", "1"],
            r"Unknown option: --training\.lerning-rate\. Did you mean --training\.learning-rate\?",
        ),
        (["retrain", *DATA, "--colour"], r"Unknown option: --colour\..*"),
        (["retrian"], r'Unknown command "retrian"\. Did you mean "retrain"\?.*'),
        (
            ["retrain", "--compute.workers", "2", "--compute.threads", "3"],
            r"compute: threads 3 cannot be divided evenly among 2 workers; nearest: 4",
        ),
        (
            ["retrain", *DATA, "--compute.workers", "4096", "--compute.threads", "4096"],
            r"compute\.threads: 4096 workers need 4096 CPU threads, but this machine has \d+; choose .* of at most \d+",
        ),
        (
            ["retrain", "--training.epochs", "4", "--training.warmup-epochs", "9"],
            r"training: warmup_epochs 9 must be less than epochs 4: the learning rate would never reach its peak",
        ),
        (
            ["ingest", "--data.source", "image_folder", "--data.name", "a/b"],
            r"data\.name: string should match pattern '.*'; got 'a/b'",
        ),
        # A parameter that stands alone is named as well.
        (["retrain", "--model-name", "a b"], r"model_name: string should match pattern '.*'; got 'a b'"),
        (["promote", "fashion", "0"], r"version: input should be greater than or equal to 1; got 0"),
        (["promote", "fashion", "3", "--reason", ""], r"reason: string should have at least 1 character; got ''"),
        (["promote", "fashion", "new"], r'Invalid value for VERSION: unable to convert "new" into int\.'),
        (["promote", "fashion"], r"version: required, and not given; `cl promote --help` describes it"),
        (["promote", "fashion", "--version"], r".*--version.*requires an argument.*"),
        (["embed", "a.parquet"], r"model_name: required, and not given; `cl embed --help` describes it"),
        (
            ["validate", "--data.name", "a", "--data.source", "image_folder", "--data.value-range", "5"],
            r".*--data\.value-range requires 2 positional arguments\. Only got 1\.",
        ),
        (
            ["validate", "--data.name", "a", "--data.source", "image_folder", "--data.value-range", "9", "5"],
            r"data\.value_range: expected two values from 0 to 65535, .*; got \[9\.0, 5\.0\]",
        ),
        (
            ["validate", "--data.name", "a", "--data.source", "image_folder", "--data.group", "patient"],
            r"data\.group: expected 'column:NAME' .*; got 'patient'",
        ),
        (["compare", "a.json", "--seeds", "0,one"], r".*--seeds: wanted whole numbers with commas .*; got '0,one'"),
        # Square brackets are no markup.
        (
            ["ingest", "--data.name", "parts", "--data.source", "[red]x[/]"],
            r"data\.source: there is no source named '\[red\]x\[/\]'; choose .*",
        ),
        (
            ["ingest", "--data.source-options", '{"count": 3'],
            r"data\.source_options: wanted JSON, such as .*; got '{\"count\": 3': .*",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_refused_in_one_sentence_that_names_it(tmp_path, refusal, arguments, sentence):
    assert re.fullmatch(sentence, refusal(*arguments))
    assert list(tmp_path.iterdir()) == []


NO_NAME, NO_SOURCE = "data.name: required, and not given", "data.source: required, and not given"
EXAMPLE = "for example: --data.name parts --data.source image_folder --data.location photos"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_begins_with_data_asks_which_and_never_takes_a_default(tmp_path, refusal, command):
    assert refusal(command) == f"{NO_NAME}; {NO_SOURCE}; {EXAMPLE}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model-name", "emoji"], f"{NO_NAME}; {NO_SOURCE}"),
        (["--data.source", "image_folder"], NO_NAME),
        (["--data.name", "emoji"], NO_SOURCE),
        (["--data.location", "emoji"], f"{NO_NAME}; {NO_SOURCE}"),
        (["--recipe", "mine.json"], NO_SOURCE),
        (["--data.nmae=emoji", "--data.source", "image_folder"], f"there is no option --data.nmae; {NO_NAME}"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_missing_of_the_data_is_named_with_an_example(tmp_path, refusal, arguments, sentence):
    (tmp_path / "mine.json").write_text('{"data": {"name": "emoji"}}')
    assert refusal("retrain", *arguments) == f"{sentence}; {EXAMPLE}"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"--recipe: there is no file {recipe}; the project's recipes are in infra/recipes"),
        ("", r"--recipe: {recipe} is not readable as JSON: .*line 1 column 1.*"),
        ('{"training": {"epochs": 3}', r"--recipe: {recipe} is not readable as JSON: .*line 1 column 27.*"),
        (b"\xff\xfe", r"--recipe: {recipe} is not readable as JSON: .*"),
        ("[1, 2]", r"--recipe: {recipe} must hold a JSON object, such as .*; it holds a list"),
        ('{"training": {"epochs": 0}}', r"training\.epochs: input should be greater than or equal to 1; got '0'"),
        ('{"training": {"epochz": 1}}', r'Unknown option: "\[training\]\[epochz\]" from {recipe}\..*'),
        ('{"colour": 1}', r'Unknown option: "\[colour\]" from {recipe}\..*'),
        ('{"training": {"loss_options": 3}}', r"training\.loss_options: input should be a valid dictionary; got 3"),
        ('{"training": 3}', r"training: input should be a valid dictionary .*; got '3'"),
        ('{"model_name": "a b"}', r"model_name: string should match pattern .*; got 'a b'"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_sentence_that_names_the_file_or_the_field(
    tmp_path, refusal, content, sentence
):
    folder = tmp_path / "[recipes]"
    folder.mkdir()
    recipe = folder / "mine.json"
    if content is not None:
        recipe.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = refusal("retrain", "--recipe", str(recipe))
    assert re.fullmatch(sentence.replace("{recipe}", re.escape(str(recipe))), said), said


def test_a_byte_order_mark_of_a_recipe_is_passed_over(tmp_path, refusal):
    (tmp_path / "recipe.json").write_text('{"training": {"epochs": 0}}', encoding="utf-8-sig")
    assert "training.epochs" in refusal("retrain", "--recipe", "recipe.json")


def test_the_command_line_wins_over_the_recipe(tmp_path, refusal):
    (tmp_path / "mine.json").write_text('{"training": {"epochs": 0, "warmup_epochs": 7}}')
    said = refusal("retrain", "--recipe", "mine.json", "--training.epochs", "6")
    assert said.startswith("training: warmup_epochs 7 must be less than epochs 6")


EVERY_KIND = (["retrain", *DATA], ["models"], ["doctor"], ["prune", "--dry-run"], ["up"])


@pytest.mark.parametrize("command", EVERY_KIND, ids=lambda command: command[0])
def test_a_home_that_cannot_be_made_is_refused_before_anything_starts(tmp_path, refusal, command):
    (tmp_path / "file").write_text("")
    for home, reason in (("file/home", "Not a directory"), ("file", "File exists")):
        assert refusal(*command, CL_HOME=str(tmp_path / home)) == (
            f"CL_HOME: cannot write in the folder {tmp_path / home} ({reason}); make it writable, or set CL_HOME to "
            "another one"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_below_a_file_there_is_nothing_to_stop(tmp_path, cl):
    (tmp_path / "file").write_text("")
    ended = cl("down", CL_HOME=str(tmp_path / "file" / "home"))
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("command", [*EVERY_KIND, ["down"]], ids=lambda command: command[0])
@pytest.mark.parametrize("name", ["what?", "no#1", "100%"])
def test_a_home_whose_name_cannot_be_in_an_address_is_refused(tmp_path, refusal, command, name):
    assert refusal(*command, CL_HOME=name) == (
        "CL_HOME: wanted a folder without ?, #, % in its path, which addresses of databases cannot have; "
        f"got {tmp_path / name}"
    )
    assert list(tmp_path.iterdir()) == []


COMMANDS_THAT_LIST_NAMES = [("--help",), ("retrain",), ("models",)]


@pytest.fixture(scope="module")
def with_a_taken_name(tmp_path_factory):
    """How commands end where another package brings a component of a name that is taken."""
    folder = tmp_path_factory.mktemp("taken")
    metadata = folder / "their_losses-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-losses\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[counterpoint.losses]\ninfo_nce = their_losses\n")
    path = os.pathsep.join([str(folder), ROOT])
    return [program(*arguments, folder=folder, PYTHONPATH=path) for arguments in COMMANDS_THAT_LIST_NAMES]


def test_an_installed_component_of_a_taken_name_is_refused_in_one_sentence_by_every_command(with_a_taken_name):
    for ended in with_a_taken_name:
        assert sentence_of(ended).startswith(
            "loss 'info_nce' exists twice: as cl_core.losses.info_nce and as their_losses of their-los"
        )


@pytest.mark.parametrize("command", COMMANDS)
def test_specs_are_given_by_name_never_by_position(refusal, command):
    positions = ["clothes", "2"] if command == "evaluate-model" else []
    assert refusal(command, *DATA, *positions, "3") == "Unused Tokens: ['3']."


@pytest.mark.parametrize("command", ["up", "atlas"])
def test_a_command_without_a_result_refuses_json(refusal, command):
    assert refusal(command, "--json") == f"--json: `cl {command}` prints no result; run it without --json"


@pytest.mark.parametrize(
    ("arguments", "kind", "old", "new"),
    [
        (["measure", "--version", "-1"], "command", "measure", "evaluate-model"),
        (["doctor", "--mend", "--colour"], "option", "--mend", "--fix"),
        (["doctor", "--mend=true", "--colour"], "option", "--mend", "--fix"),
    ],
)
def test_an_old_name_works_with_a_warning_that_names_the_new_one(cl, arguments, kind, old, new):
    ended = cl(*arguments)
    warning, error = ended.err.splitlines()
    assert warning == f"warning: the {kind} {old} is renamed to {new}; the old name goes with the next release"
    # What is refused is the other argument: the renamed one was understood.
    assert (ended.code, ended.out) == (2, "")
    assert ("--colour" in error) if kind == "option" else error.startswith("error: version: ")


def test_a_file_called_like_an_old_name_is_no_command(refusal):
    assert refusal("--recipe", "measure", "retrain").startswith("--recipe: there is no file measure;")


def test_a_result_is_printed_for_people_or_as_one_json_document(cl):
    assert cl("down") == Ended(0, "Nothing to stop: no `cl up` runs for this CL_HOME.\n", "")
    document = cl("--json", "down")
    assert (document.code, document.err) == (0, "")
    assert json.loads(document.out) == {"supervisor": False, "orphans": [], "elsewhere": []}


def test_a_terminal_of_another_encoding_shows_escapes_for_what_it_cannot(cl, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("flows.cli.render.render", lambda result, seconds: print("größe кофе", flush=True))
    assert cl("down").code == 0
    assert terminal.buffer.getvalue() == "größe ".encode("latin-1") + rb"\u043a\u043e\u0444\u0435" + b"\n"


@pytest.fixture(scope="module")
def ascii_only(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ascii")
    return program("--version", folder=folder, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")


def test_where_names_would_be_read_as_ascii_it_says_what_to_set(ascii_only):
    assert sentence_of(ascii_only).endswith("unset PYTHONUTF8, or set LC_ALL to C.UTF-8")


def test_an_unforeseen_error_is_one_sentence_and_a_file_with_the_traceback(tmp_path, cl, monkeypatch):
    def defect(*_, **_options):
        raise ZeroDivisionError("division by zero\nin the second line")

    monkeypatch.setattr("flows.cli.compat.recipe_values", defect)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = cl("retrain", "--recipe", "a b.json")
    sentence = r"error: unforeseen ZeroDivisionError: division by zero\. The traceback is in (\S+); CL_DEBUG=1 shows it"
    said = re.fullmatch(sentence, ended.err.strip())
    assert ended.code == 1 and said is not None, ended.err
    log = Path(said[1]).read_text()
    assert log.startswith("cl retrain --recipe 'a b.json'\n") and "in defect" in log and "in the second line" in log
    with pytest.raises(ZeroDivisionError):
        cl("retrain", "--recipe", "a b.json", CL_DEBUG="1")

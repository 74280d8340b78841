"""The command line as a person meets it: quick help, and one clear sentence for what is wrong."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from cyclopts.utils import default_name_transform

from cl_core.registry import ENCODERS, EVALUATIONS, LOSSES, METHODS, SOURCES, VIEWS
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, PromotionSpec, TrainingSpec

CL = str(Path(sys.executable).with_name("cl"))
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
    "measure": ["data", "evaluation", "compute"],
}
EVERY = [*COMMANDS, "embed", "search", "atlas", "models", "promote", "rollback", "explain"]


def cl(*arguments, folder, **settings):
    """Run the command in an empty folder, with nothing of ours in the environment."""
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", "HOME": str(folder), **settings}
    return subprocess.run(
        [CL, *arguments], capture_output=True, text=True, check=False, cwd=folder, env=environment, timeout=60
    )


def refusal(*arguments, folder, **settings):
    """The sentence with which the command refuses, after checking that it refuses as it should."""
    done = cl(*arguments, folder=folder, **settings)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.endswith("\n")
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr
    return done.stderr.removeprefix("error: ").removesuffix("\n")


def option(group, field):
    return f"--{group}.{default_name_transform(field)}"


def test_help_lists_the_commands_and_the_settings(tmp_path):
    done = cl("--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for word in [*EVERY, "--recipe"]:
        assert word in done.stdout
    for setting in ["CL_HOME", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "RAY_ADDRESS", "CL_NOTIFY"]:
        assert setting in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_shows_every_field_with_its_description_and_every_name(tmp_path, command):
    done = cl(command, "--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    # The words as they stand in the table, without its lines and breaks.
    shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.stdout).split())
    for group in COMMANDS[command]:
        for field, info in GROUPS[group].model_fields.items():
            assert f"{option(group, field)} " in shown
            description = " ".join(info.description.replace("`", "").split())
            assert description[:40] in shown, f"{group}.{field}"
    # Where what stands is read, there is nothing to force.
    assert "--recipe" in shown and ("--force" in shown) is (command not in ("report", "measure"))
    for registry in (SOURCES, VIEWS, ENCODERS, LOSSES, METHODS, EVALUATIONS):
        assert ", ".join(registry.names()) in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *([command, "--help"] for command in COMMANDS),
        *([command, "--help"] for command in ("embed", "search", "atlas")),
        ["--version"],
        ["retrain", "--training.method", "x"],
        ["report", "--model-name", "a b"],
    ],
    ids=" ".join,
)
def test_help_and_refusals_import_nothing_heavy(tmp_path, arguments):
    code = (
        "import json, sys\n"
        "from flows.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    imported = set(json.loads(done.stderr.splitlines()[-1]))
    assert "flows.cli.main" in imported and not HEAVY & imported


def test_flows_are_imported_without_what_their_steps_use(tmp_path):
    """Prefect imports a flow once more to cancel a run of it, and `cl up` all of them before it is ready."""
    program = (
        "import importlib, pkgutil, sys, flows\n"
        "for module in pkgutil.iter_modules(flows.__path__): importlib.import_module(f'flows.{module.name}')\n"
        "print(*sys.modules)"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )
    imported = set(done.stdout.split())
    assert "flows.retrain" in imported and not {"torch", "torchvision", "ray", "mlflow", "sklearn"} & imported


def test_the_version_is_that_of_the_package(tmp_path):
    done = cl("--version", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, version("counterpoint") + "\n", "")


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
            ["retrain", "--training.lerning-rate", "1"],
            r"Unknown option: --training\.lerning-rate\. Did you mean --training\.learning-rate\?",
        ),
        (["retrain", "--colour"], r"Unknown option: --colour\..*"),
        (["retrian"], r'Unknown command "retrian"\. Did you mean "retrain"\?.*'),
        (
            ["retrain", "--compute.workers", "2", "--compute.threads", "3"],
            r"compute: threads 3 cannot be divided evenly among 2 workers; nearest: 4",
        ),
        (
            ["retrain", "--training.warmup-epochs", "9"],
            r"training: warmup_epochs 9 must be less than epochs 4: the learning rate would never reach its peak",
        ),
        (["ingest", "--data.name", "a/b"], r"data\.name: string should match pattern '.*'; got 'a/b'"),
        # A parameter that stands alone is named as well.
        (["retrain", "--model-name", "a b"], r"model_name: string should match pattern '.*'; got 'a b'"),
        (["promote", "fashion", "0"], r"version: input should be greater than or equal to 1; got 0"),
        (["promote", "fashion", "3", "--reason", ""], r"reason: string should have at least 1 character; got ''"),
        (["promote", "fashion", "new"], r'Invalid value for VERSION: unable to convert "new" into int\.'),
        (["promote", "fashion"], r".*--version.*requires an argument.*"),
        # Square brackets are no markup.
        (
            ["ingest", "--data.source", "[red]x[/]"],
            r"data\.source: there is no source named '\[red\]x\[/\]'; choose .*",
        ),
        (
            ["ingest", "--data.source-options", '{"count": 3'],
            r"data\.source_options: wanted JSON, such as .*; got '{\"count\": 3': .*",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_refused_in_one_sentence_that_names_it(tmp_path, arguments, sentence):
    assert re.fullmatch(sentence, refusal(*arguments, folder=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"--recipe: there is no file {recipe}; recipes stand in infra/recipes"),
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
def test_a_wrong_recipe_is_refused_in_one_sentence_that_names_the_file_or_the_field(tmp_path, content, sentence):
    folder = tmp_path / "[recipes]"
    folder.mkdir()
    recipe = folder / "mine.json"
    if content is not None:
        recipe.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = refusal("retrain", "--recipe", str(recipe), folder=tmp_path)
    assert re.fullmatch(sentence.replace("{recipe}", re.escape(str(recipe))), said), said


def test_the_command_line_wins_over_the_recipe(tmp_path):
    (tmp_path / "mine.json").write_text('{"training": {"epochs": 0, "warmup_epochs": 7}}')
    said = refusal("retrain", "--recipe", "mine.json", "--training.epochs", "6", folder=tmp_path)
    assert said.startswith("training: warmup_epochs 7 must be less than epochs 6")


@pytest.mark.parametrize("arguments", [["--help"], ["retrain"], ["models"]], ids=" ".join)
def test_an_installed_component_of_a_taken_name_is_refused_in_one_sentence_by_every_command(tmp_path, arguments):
    metadata = tmp_path / "their_losses-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-losses\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[counterpoint.losses]\ninfo_nce = their_losses\n")
    said = refusal(*arguments, folder=tmp_path, PYTHONPATH=str(tmp_path))
    assert said.startswith("loss 'info_nce' exists twice: as cl_core.losses.info_nce and as their_losses of their-los")


def test_no_command_at_all_shows_the_help(tmp_path):
    assert cl(folder=tmp_path).stdout == cl("--help", folder=tmp_path).stdout

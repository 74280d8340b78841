"""What `cl validate` prints of data that is accepted."""

from cl_core.data.validation import NearDuplicates, ValidationReport
from flows.cli.result_tables import show_validation

REPORT = ValidationReport(
    train_samples=240,
    test_samples=40,
    classes=3,
    smallest_class=80,
    unlabeled=0,
    quarantined=2,
    quarantined_share=0.01,
    duplicates=0,
    near_duplicates=NearDuplicates(
        pairs=0, test_samples=0, test_share=0, plain_samples=0, complete=True, examples=[], origins=[]
    ),
)


def printed(report: ValidationReport, capsys) -> str:
    show_validation(report)
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_files_that_were_passed_over_are_counted_by_suffix(capsys):
    counted = REPORT.model_copy(update={"passed_over": {".csv": 1200, "hidden": 2}})
    assert "files passed over 1,200 .csv, 2 hidden" in printed(counted, capsys)
    assert "files passed over none" in printed(REPORT, capsys)


def test_near_duplicates_are_named_by_their_files(capsys):
    near = REPORT.near_duplicates.model_copy(
        update={
            "pairs": 1,
            "test_samples": 1,
            "examples": [("ab" * 32, "cd" * 32)],
            "origins": [("train/cat/1.png", "test/cat/2.png")],
        }
    )
    shown = printed(REPORT.model_copy(update={"near_duplicates": near}), capsys)
    assert "closest pairs (training, test) train/cat/1.png test/cat/2.png" in shown
    without = printed(REPORT.model_copy(update={"near_duplicates": near.model_copy(update={"origins": []})}), capsys)
    assert "closest pairs (training, test) abababababab cdcdcdcdcdcd" in without

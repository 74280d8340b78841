"""A training that collapses: the run says how and why, nothing is registered, and asking again changes nothing."""

from clothes import CLOTHES

from .conftest import CommandLine

# FaceNet with the hardest triplets from the first step on.
TRAINING = {
    "method": "facenet",
    "method_options": {"samples_per_class": 10},
    "loss_options": {"mining": "hard"},
    "encoder_options": {"stem_width": 16, "width": 32},
    "epochs": 6,
    "batch_size": 50,
    "precision": "fp32",
}


def test_a_collapsed_training_is_named_never_registered_and_stays_failed_when_run_again(cl: CommandLine) -> None:
    compute = {"threads": 1, "checkpoint_every_s": 0.5, "report_every_s": 0}
    first, again = (cl.run("retrain", recipe={**CLOTHES, "training": TRAINING, "compute": compute}) for _ in range(2))
    for run in (first, again):
        assert run.code == 1
        assert "stopped after step " in run.error
        assert "all embeddings are nearly equal" in run.error
        assert "semi-hard mining" in run.error
        assert "This training registers no model" in run.error
        assert "Traceback" not in run.err
        assert "Retrying" not in run.err
    assert first.error == again.error
    [training] = (cl.home / "trainings").iterdir()
    assert not (training / "checkpoint.json").exists()
    assert list((training / "checkpoints").glob("step-*")), "those before the collapse stand"
    assert cl.run("models").out.startswith("No model is registered yet")

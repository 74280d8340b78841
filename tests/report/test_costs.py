"""The cost of a step: its attempts add up, and what was lost is counted apart."""

from cl_core.report.costs import Outcome, StepAttempt, StepCost, cost_line, cost_rows, step_costs


def attempt(step: str, began: float, seconds: float, outcome: Outcome = "ran", **more: object) -> StepAttempt:
    return StepAttempt(step=step, began=began, seconds=seconds, cpu_seconds=seconds / 2, outcome=outcome, **more)


def cost(*attempts: StepAttempt) -> StepCost:
    [found] = step_costs(attempts)
    return found


def test_a_step_that_failed_once_has_lost_that_attempt_and_the_pause_after_it() -> None:
    found = cost(attempt("register", 100, 4, "failed"), attempt("register", 110, 5))
    assert (found.attempts, found.seconds, found.cpu_seconds) == (2, 9, 4.5)
    assert (found.lost_seconds, found.waited_seconds) == (4, 6)
    assert found.outcome == "ran"


def test_a_killed_training_that_goes_on_has_lost_only_what_it_repeats() -> None:
    killed = attempt("pretrain", 0, 3600, "killed", repeated_steps=0)
    again = attempt("pretrain", 3700, 60, repeated_steps=40, repeated_seconds=12.5)
    found = cost(killed, again)
    assert (found.lost_seconds, found.repeated_steps, found.waited_seconds) == (12.5, 40, 100)
    assert cost(killed).lost_seconds == 3600, "no attempt has gone on from it yet"


def test_a_training_that_a_person_stopped_and_that_keeps_its_last_step_has_lost_nothing() -> None:
    found = cost(attempt("pretrain", 0, 3600, "interrupted", repeated_steps=0))
    assert (found.outcome, found.lost_seconds) == ("interrupted", 0)
    assert cost_line([found]).endswith("; nothing lost to retries")


def test_a_step_that_simply_ran_has_lost_nothing() -> None:
    found = cost(attempt("evaluate", 0, 7))
    assert (found.lost_seconds, found.waited_seconds, found.repeated_steps) == (0, 0, 0)
    assert cost_line([found]) == "evaluate 7.0 s (3.5 CPU-s); total 7.0 s, 3.5 CPU-s; nothing lost to retries"


def test_the_line_and_the_rows_say_what_was_lost_and_name_gpus_only_where_there_were_some() -> None:
    killed = attempt("pretrain", 0, 100, "killed")
    again = attempt("pretrain", 110, 60, repeated_steps=1400, repeated_seconds=12.0, gpu_seconds=120.0)
    steps = step_costs([attempt("ingest", 0, 0.01), killed, again])
    assert cost_line(steps) == (
        "pretrain 2 min 40 s (80.0 CPU-s, 120.0 GPU-s); total 2 min 40 s, 80.0 CPU-s, 120.0 GPU-s; "
        "12 s lost, 10 s waited between attempts, 1,400 training steps repeated: pretrain (2 attempts)"
    )
    *_, pretrain, total = cost_rows(steps)
    assert (pretrain["seconds"], pretrain["GPU-seconds"], pretrain["seconds lost"]) == ("160.0", "120.0", "12.0")
    assert (total["step"], total["attempts"], total["training steps repeated"]) == ("total", "3", "1,400")

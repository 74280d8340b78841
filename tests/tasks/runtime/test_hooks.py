"""What every flow does when it begins and ends."""

import inspect

from tasks.runtime.hooks import FLOW


def test_hooks_take_what_prefect_gives_them_in_order_and_by_name():
    """In the flow's own process Prefect calls hooks in order; when it cancels a run, its worker calls them by name."""
    for when in ("on_running", "on_completion", "on_cancellation", "on_failure", "on_crashed"):
        for hook in FLOW[when]:
            parameters = inspect.signature(hook)
            by_name = parameters.bind(flow="flow", flow_run="run", state="state")
            assert parameters.bind("flow", "run", "state").arguments == by_name.arguments, f"{when}: {hook}"

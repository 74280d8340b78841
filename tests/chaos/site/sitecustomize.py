"""Python imports this at its start where PYTHONPATH names the folder: in servers, workers, runs and Ray's workers."""

import os
import sys

if os.environ.get("CL_FAILPOINTS"):
    # Only for this import: left there, tests/tasks would hide the project's own tasks where it is installed editable.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120
    from chaos.failpoints import install_hook

    sys.path.pop()
    install_hook()

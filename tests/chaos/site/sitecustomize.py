"""Python imports this at its start where PYTHONPATH names the folder: in servers, workers, runs and Ray's workers."""

import os
import sys

if os.environ.get("CL_FAILPOINTS"):
    # Beside the tests' other modules; a child has the project on its path already, being installed or on PYTHONPATH.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120
    from chaos.failpoints import install_hook

    install_hook()

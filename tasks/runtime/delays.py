"""Pauses between two tries, in seconds; tests and impatient operators shorten them, nobody has to.

CL_RETRY_DELAY_S        before a step that failed for want of a machine or a network is tried again, doubled each time;
                        default 5
CL_STORE_PAUSE_S        before an MLflow that does not answer is asked again, doubled each time; default 1
CL_LOOK_EVERY_S         between two looks of `cl up` for runs whose process is gone; default 20
"""

import math
import os

from cl_core.errors import InputError


def _seconds(name: str, default: float) -> float:
    given = os.environ.get(name) or str(default)
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{name} must be a number of seconds, 0 or more, not {given!r}; unset, it is {default}")
    return seconds


RETRY_DELAY_S = _seconds("CL_RETRY_DELAY_S", 5)
STORE_PAUSE_S = _seconds("CL_STORE_PAUSE_S", 1)
LOOK_EVERY_S = _seconds("CL_LOOK_EVERY_S", 20)

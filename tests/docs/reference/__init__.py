"""Reference pages of the documentation, each generated from the code that it describes.

`tests/docs/test_reference.py` compares them with the pages in `docs/reference`, and writes those anew when
CL_UPDATE_GOLDEN is 1.
"""

from collections.abc import Callable

from reference import artifacts, cli, components, errors, home, python_api, settings, specs

PAGES: dict[str, Callable[[], str]] = {
    "artifacts.md": artifacts.page,
    "cli.md": cli.page,
    "components.md": components.page,
    "errors.md": errors.page,
    "home.md": home.page,
    "python.md": python_api.page,
    "settings.md": settings.page,
    "specs.md": specs.page,
}

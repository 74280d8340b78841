"""The report: one HTML page, and its essence as markdown, that say what a run made and whether to trust it."""

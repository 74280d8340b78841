"""The report: one HTML page, and its essence as markdown, that say what a run made and whether to trust it."""

from cl_core.report.inputs import ReportInputs
from cl_core.report.page import render
from cl_core.report.summary import fetch_lines, score_rows, summary_markdown

__all__ = ["ReportInputs", "fetch_lines", "render", "score_rows", "summary_markdown"]

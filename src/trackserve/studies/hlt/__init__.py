"""Trigger jobs in which tracking is one module, and how many of them one server feeds."""

from __future__ import annotations

from ..study import Study
from .points import measure, plan
from .report import show

STUDY = Study(
    "hlt",
    "Trigger jobs that share a server",
    "Tracking is a tenth of a trigger job. What does the job gain if a server does the tracking "
    "while the other modules run? How many jobs can one server feed (section 3.2 and Figs. 3, 4 "
    "and 5 of the paper)? A job with real work runs on a core of its own, and the server on "
    "another. Many jobs are emulated: their other modules wait in place of work; the server is "
    "real.",
    plan,
    measure,
    show,
)

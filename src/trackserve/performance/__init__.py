"""How well the pipelines reconstruct: physics validation against truth, figures, reports."""

from .compare import comparison_table, write_comparison_report
from .metrics import (
    Fraction,
    Matches,
    PhysicsSummary,
    ReferenceComparison,
    Width,
    compare_counts,
    match_events,
    summarize,
)
from .report import Picture, Section, Table, write_report
from .truth import Particles, TruthEvent, perigee, read_truth
from .validate import (
    compare_with_reference,
    match_directory,
    summary_table,
    validate_patatrack,
    write_validation_report,
)

__all__ = [
    "Fraction",
    "Matches",
    "Particles",
    "PhysicsSummary",
    "Picture",
    "ReferenceComparison",
    "Section",
    "Table",
    "TruthEvent",
    "Width",
    "compare_counts",
    "compare_with_reference",
    "comparison_table",
    "match_directory",
    "match_events",
    "perigee",
    "read_truth",
    "summarize",
    "summary_table",
    "validate_patatrack",
    "write_comparison_report",
    "write_report",
    "write_validation_report",
]

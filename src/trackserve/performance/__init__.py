"""How well the pipelines reconstruct: physics validation against truth, figures, reports."""

from .compare import comparison_table, write_comparison_report
from .metrics import (
    Matches,
    PhysicsSummary,
    ReferenceComparison,
    compare_counts,
    match_events,
    summarize,
)
from .report import Picture, Section, Table, write_report
from .statistics import Fraction, Width
from .tracker_graph import GraphQuality, graph_quality
from .tracker_metrics import (
    TrackerMatches,
    TrackerSummary,
    match_tracker_events,
    summarize_tracker,
    validate_exatrkx,
)
from .tracker_validate import tracker_tables, write_tracker_report
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
    "GraphQuality",
    "Matches",
    "Particles",
    "PhysicsSummary",
    "Picture",
    "ReferenceComparison",
    "Section",
    "Table",
    "TrackerMatches",
    "TrackerSummary",
    "TruthEvent",
    "Width",
    "compare_counts",
    "compare_with_reference",
    "comparison_table",
    "graph_quality",
    "match_directory",
    "match_events",
    "match_tracker_events",
    "perigee",
    "read_truth",
    "summarize",
    "summarize_tracker",
    "summary_table",
    "tracker_tables",
    "validate_exatrkx",
    "validate_patatrack",
    "write_comparison_report",
    "write_report",
    "write_tracker_report",
    "write_validation_report",
]

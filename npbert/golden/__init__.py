"""Golden packs: every intermediate of a pass, and every gradient, in a file, which ports are compared with."""

from npbert.golden.compare import compare
from npbert.golden.diagnose import diagnose
from npbert.golden.export import export
from npbert.golden.listing import show
from npbert.golden.names import names
from npbert.golden.pack import Pack, read_pack
from npbert.golden.proposal import propose_map
from npbert.golden.report import Report, Row
from npbert.golden.steps import Steps
from npbert.golden.suspects import Suspect

__all__ = [
    "Pack",
    "Report",
    "Row",
    "Steps",
    "Suspect",
    "compare",
    "diagnose",
    "export",
    "names",
    "propose_map",
    "read_pack",
    "show",
]

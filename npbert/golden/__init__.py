"""Golden packs: export every intermediate of a forward pass, and hold a port against it."""

from npbert.golden.compare import Report, Row, compare
from npbert.golden.diagnose import Suspect, diagnose
from npbert.golden.export import export
from npbert.golden.pack import Pack, read_pack, show

__all__ = ["Pack", "Report", "Row", "Suspect", "compare", "diagnose", "export", "read_pack", "show"]

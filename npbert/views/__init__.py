"""Pictures of a real pass, of a port's errors, and of training: pages in one file that open everywhere."""

from npbert.views.comparison import Comparison, comparison
from npbert.views.curves import curves
from npbert.views.look import look
from npbert.views.page import View

__all__ = ["Comparison", "View", "comparison", "curves", "look"]

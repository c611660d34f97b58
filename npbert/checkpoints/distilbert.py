"""The old names of what is now in `npbert.checkpoints.names`: delete with the last caller."""

from npbert.checkpoints.names import (
    arrays_from_distilbert as from_distilbert,
)
from npbert.checkpoints.names import (
    arrays_to_distilbert as to_distilbert,
)
from npbert.checkpoints.names import (
    fields_from_distilbert as config_from_distilbert,
)
from npbert.checkpoints.names import (
    fields_to_distilbert as config_to_distilbert,
)

__all__ = ["config_from_distilbert", "config_to_distilbert", "from_distilbert", "to_distilbert"]

"""Checkpoints in and out: from a path or an id to fields, arrays and generation settings, and back into files.

Nothing here knows a model. READ FIRST: `checkpoint.py`. Below it stand the places (`local_files.py`, `hub_repository.py`), the
formats, one file each (`safetensors.py`, `torch_pickle.py`, `tensorflow.py`, `shards.py`), and `names/`.
"""

from npbert.checkpoints.checkpoint import LOCATION_OPTIONS, Checkpoint, find
from npbert.checkpoints.config_files import config_text, read_config_file
from npbert.checkpoints.local_files import NPBERT_SMALL
from npbert.checkpoints.saving import save, save_config

__all__ = ["LOCATION_OPTIONS", "NPBERT_SMALL", "Checkpoint", "config_text", "find", "read_config_file", "save", "save_config"]

"""The formats of weights: what their files are called, and what reads them into arrays with Hugging Face's names."""

from pathlib import Path

from npbert.checkpoints import names
from npbert.errors import FileError, InputError
from npbert.types import Array

WEIGHT_FILES = {  # file name -> format; of several files in one place the first counts
    "model.safetensors": "safetensors",
    "model.safetensors.index.json": "safetensors shards",
    "pytorch_model.bin": "torch",
    "pytorch_model.bin.index.json": "torch shards",
    "bert_model.ckpt.index": "tensorflow",
}
ENDINGS = {  # of a file that the user names -> format
    ".safetensors": "safetensors",
    ".safetensors.index.json": "safetensors shards",
    ".bin": "torch",
    ".pt": "torch",
    ".pth": "torch",
    ".bin.index.json": "torch shards",
    ".index": "tensorflow",
}


def format_of(file: Path) -> str:
    """The format of a file, by the longest ending that fits its name."""
    from npbert.checkpoints import tensorflow

    for ending in sorted(ENDINGS, key=len, reverse=True):
        if file.name.endswith(ending):
            return ENDINGS[ending]
    tensorflow.find_prefix(file)  # knows the files of the first version, and says what to do with them
    raise FileError(f"{file}: not a file of weights by its name; known endings are {', '.join(ENDINGS)}")


def read_weights(file: Path, format: str) -> dict[str, Array]:
    """Every array of a checkpoint, under Hugging Face's names for BERT. `file` is the one to begin at."""
    from npbert.checkpoints import safetensors, shards, tensorflow, torch_pickle  # here: `import npbert` needs no reader

    try:
        if format == "tensorflow":
            return names.arrays_from_tensorflow(tensorflow.read(file))
        read_file = safetensors.read if format.startswith("safetensors") else torch_pickle.read
        arrays = shards.read(file, read_file) if format.endswith("shards") else read_file(file)
        return names.arrays_from_distilbert(arrays)
    except InputError as error:  # about names; readers themselves raise FileError
        raise FileError(f"{file}: {error}") from None

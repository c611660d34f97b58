"""How much a file of a checkpoint may ask for. All such limits stand here.

A size in a file is believed only as far as the file's own bytes can back it. Where they cannot (a header of a few bytes may
name any number of layers, a compressed block any number of zeros), one of these limits ends the reading. Each is several times
what the largest real checkpoint needs, and each refusal names the limit.
"""

MAX_DIMENSIONS = 32
"""Of an array: what NumPy 1 takes."""

# ------------------------------------------------------------------------------------------------------------------- JSON

MAX_JSON_BYTES = 4 << 20
MAX_JSON_DEPTH = 100
"""Lists and objects inside one another; a `config.json` has 4. Code that walks a value calls itself once a level."""
MAX_JSON_CONTAINERS = 100_000
MAX_JSON_VALUES = 300_000
MAX_JSON_DIGITS = 40
"""Of one integer. Tokenizers write "no limit" as 10**30; millions of digits would take minutes to convert."""

# --------------------------------------------------------------------------------------------------------- configurations

# These numbers cost memory before any weight is looked at. The longest header that is read has no room for more layers, and the
# longest configuration none for the names of many more labels.
MAX_CONFIG_NUMBERS = {"num_hidden_layers": 2_000, "n_layer": 2_000, "num_labels": 100_000}

MAX_FRESH_ELEMENTS = 1 << 26
MAX_FRESH_SHARE = 10
"""Weights that a checkpoint lacks are drawn at random. They may have MAX_FRESH_ELEMENTS elements, and MAX_FRESH_SHARE more for
each element that was found: room for a head, for other layers, for a word table."""

# ------------------------------------------------------------------------------------------------------------ safetensors

MAX_HEADER = 4 << 20
"""Bytes: room for some thirty thousand tensors. Each tensor in a header takes far more memory than text."""

# ----------------------------------------------------------------------------------------------------- pickles and their zip

# BERT-large with the state of its optimizer takes some 50,000 instructions. Half a million run in about half a second.
MAX_INSTRUCTIONS = 500_000
MAX_PICKLE_BYTES = 16 << 20
# Whoever picks integers can make them collide in a hash table, which strings cannot. An optimizer has one key a parameter.
MAX_INTEGER_KEYS = 20_000

# A stride of 0 makes any number of elements out of one, and any number of tensors may view one storage. Masks and position
# tables are saved like that, and layers that share their weights; gigabytes are not. Together, the tensors of a file may have
# MAX_SHARING times the file's bytes, and MAX_EXPANDED more.
MAX_SHARING = 30
MAX_EXPANDED = 64 << 20

MAX_ZIP_ENTRIES = 50_000  # a checkpoint has one entry a tensor and a handful more
MAX_ZIP_NAME, MAX_ZIP_EXTRA = 1024, 256  # both could have 65535 bytes, times the entries; torch needs some 20

# ------------------------------------------------------------------------------------------------------------- TensorFlow

MAX_INDEX_BYTES = 1 << 22
"""The index of BERT takes some 20 kB."""
MAX_INDEX_CONTENTS = 1 << 26
"""Bytes. Shared key beginnings and Snappy's copies let a small file stand for a huge one."""
MAX_INDEX_ENTRIES = 20_000
"""The index of BERT-large with its optimizer has some 1,200."""

# ------------------------------------------------------------------------------------------------- text and its generation

MAX_TOKENIZER_BYTES = 1 << 27
"""Of a `tokenizer.json`; one with half a million words takes some 16 MB."""
MAX_TOKENIZER_STEPS = 100
MAX_GROWTH = 32
"""How many characters, or tokens, the steps of a `tokenizer.json` may make of one."""
MAX_WORD = 1_000
"""Characters of a word that is still cut into pieces; BERT has 100. The time goes with the third power."""

MAX_PADDED = 1 << 20
"""Tokens that a row is padded to, which the `model_max_length` of a file may decide."""

MAX_SEQUENCES = {"num_beams": 1_000, "num_return_sequences": 100_000}
"""Beams, or sequences returned, for one prompt: with BERT's vocabulary the scores of a single step take 120 MB then."""

# ---------------------------------------------------------------------------------------------------------- packs and ports

MAX_TENSOR_NAME = 1_000
"""Characters: BERT's longest name has some 60."""
MAX_PAIRS = 1 << 26
"""Pairs of positions, a query and a key, in the inputs of a pack: which may look at which takes a byte each, several times."""
MAX_EMPTY = 1 << 20
"""The product of the other sizes of an array that has a size of 0, and so no byte that backs them."""
MAX_COMPRESSION = 100
MAX_UNPACKED = 64 << 20
"""An array in a compressed dump may have MAX_COMPRESSION times the bytes that it takes in the file, and MAX_UNPACKED more.
Activations hardly shrink; padding and masks do."""

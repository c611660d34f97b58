"""The mathematics of BERT: pure functions of arrays.

Nothing here knows a weight's name, a configuration or a file; every function can be read, called and tested alone. No
argument is ever changed. Ids and labels are integers; everything else is float32 or float64, and so is the result.

    B  batch             N  heads               D = N*H  hidden size         V  vocabulary size
    S  query length      H  size of a head      F  intermediate size         M  longest sequence (position table)
    P  cached length     T = P + S  key length

Papers: Vaswani et al. 2017, "Attention is all you need" (attention); Devlin et al. 2018, "BERT" (the rest); Ba et al. 2016,
"Layer normalization"; Hendrycks & Gimpel 2016, "Gaussian error linear units"; Shaw et al. 2018 and Huang et al. 2020 (relative
positions).
"""

from npbert.ops import masks
from npbert.ops.activations import (
    ACTIVATIONS,
    gelu,
    gelu_10,
    gelu_fast,
    gelu_new,
    laplace,
    leaky_relu,
    linear_activation,
    mish,
    quick_gelu,
    relu,
    relu2,
    relu6,
    sigmoid,
    silu,
    tanh,
)
from npbert.ops.attention import (
    attention_scores,
    log_softmax,
    merge_heads,
    relative_distances,
    relative_key_scores,
    relative_query_scores,
    scale_and_mask,
    scaled_dot_product_attention,
    softmax,
    split_heads,
)
from npbert.ops.linear import apply_in_chunks, dropout, embedding, linear
from npbert.ops.losses import binary_cross_entropy_with_logits, cross_entropy, mean, mean_squared_error
from npbert.ops.norm import layer_norm
from npbert.ops.ranking import top_k
from npbert.types import Array

__all__ = [
    "ACTIVATIONS",
    "Array",
    "apply_in_chunks",
    "attention_scores",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "gelu_10",
    "gelu_fast",
    "gelu_new",
    "laplace",
    "layer_norm",
    "leaky_relu",
    "linear",
    "linear_activation",
    "log_softmax",
    "masks",
    "mean",
    "mean_squared_error",
    "merge_heads",
    "mish",
    "quick_gelu",
    "relative_distances",
    "relative_key_scores",
    "relative_query_scores",
    "relu",
    "relu2",
    "relu6",
    "scale_and_mask",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "softmax",
    "split_heads",
    "tanh",
    "top_k",
]

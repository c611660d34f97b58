"""What GPT-2's names in a pack mean: rows of a table as in `npbert.golden.names`, whose legend holds here.

Q query, key and value together: 3*N*H; key and value alone, 2*N*H, where an encoder is read
"""

GPT2_NAMES = [
    ("wte", "B S D", "the row of the word table for each token id"),
    ("wpe", "1 S D|B S D", "the row of the position table for each token, once for all texts"),
    (":token_types", "B S D", "the row of the word table for each token type, where there are any"),
    (":sum", "B S D", "the rows above added; no LayerNorm follows"),
    ("drop", "B S D", "the same again, since nothing is dropped: what the first layer reads"),
    ("h.*.ln_1", "B S D", "LayerNorm of what the layer reads, with eps {layer_norm_eps} under the root"),
    ("h.*.attn.c_attn", "B S Q", "x c_attn.weight + c_attn.bias: query, key and value, each whole, one behind the other"),
    ("h.*.crossattention.q_attn", "B S N*H", "x q_attn.weight + q_attn.bias: the query; heads not split, not scaled"),
    ("h.*.crossattention.c_attn", "B E Q", "c_attn of the encoder's output: key and value, each whole"),
    ("h.*.attn:query", "B N S H", "the query after the split into heads, still not scaled"),
    ("h.*.attn:key", "B N T H", "the key after the split, behind what a cache holds"),
    ("h.*.attn:value", "B N T H", "the value after the split, behind what a cache holds"),
    ("h.*.attn:scores", "B N S T", "query key^T: before the scale and before the mask"),
    (
        "h.*.attn:masked_scores",
        "B N S T",
        ":scores / sqrt({head_size}), -inf where the key lies later: what softmax reads",
    ),
    ("h.*.attn.attn_dropout", "B N S T", "softmax of :masked_scores over the keys"),
    ("h.*.attn:probs", "B N S T", "the same, times the head mask if there is one"),
    ("h.*.attn:context", "B S N*H", ":probs times :value, heads merged: what c_proj reads"),
    ("h.*.attn.c_proj", "B S D", "x c_proj.weight + c_proj.bias, of the merged heads"),
    ("h.*.attn.resid_dropout", "B S D", "the same again, since nothing is dropped"),
    ("h.*.attn", "B S D", "the same again"),
    ("h.*.attn:residual", "B S D", "the attention's result plus what the layer read, before ln_1"),
    ("h.*.ln_cross_attn", "B S D", "LayerNorm of the sum so far"),
    ("h.*.ln_2", "B S D", "LayerNorm of the sum so far"),
    ("h.*.mlp.c_fc", "B S F", "x c_fc.weight + c_fc.bias, before the activation"),
    ("h.*.mlp.act", "B S F", "the activation, {activation_function}, of it"),
    ("h.*.mlp.c_proj", "B S D", "x c_proj.weight + c_proj.bias, of the activated values"),
    ("h.*.mlp.dropout", "B S D", "the same again, since nothing is dropped"),
    ("h.*.mlp", "B S D", "the same again"),
    ("h.*", "B S D", "mlp plus the sum that ln_2 read: the layer's result, what the next one reads"),
    ("ln_f", "B S D", "LayerNorm of the last layer's result"),
    ("transformer", "B S D", "the same again, as a head reads it"),
    ("lm_head", "B S V", "the word table times that, without a bias: a logit for each word"),
    ("score", "B S C", "the logits of the labels, at every token"),
]
"""Name, axes and text, in the order of execution."""

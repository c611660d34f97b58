"""What other files call a weight or a field, turned into what Hugging Face's BERT calls it, and back. No files are read here.

from TensorFlow (google-research/bert)
  bert/encoder/layer_0/attention/self/query/kernel      bert.encoder.layer.0.attention.self.query.weight  (transposed)
  bert/embeddings/word_embeddings                       bert.embeddings.word_embeddings.weight
  bert/embeddings/LayerNorm/gamma, .../beta             bert.embeddings.LayerNorm.weight, ....bias
  cls/predictions/output_bias                           cls.predictions.bias
  cls/seq_relationship/output_weights, .../output_bias  cls.seq_relationship.weight, ....bias
  output_weights, output_bias                           classifier.weight, classifier.bias  (run_classifier.py)
  cls/squad/output_weights, .../output_bias             cls.squad.weight, cls.squad.bias  (run_squad.py; see below)
  .../adam_m, .../adam_v, global_step and their like    left out

from DistilBERT, and to it
  distilbert.transformer.layer.0.attention.q_lin.weight   bert.encoder.layer.0.attention.self.query.weight
  vocab_projector.bias                                    cls.predictions.bias
  the fields dim, n_layers, activation, ...               hidden_size, num_hidden_layers, hidden_act, ...

fit_to: one weight, several names; the model says which of them it wants
  ....LayerNorm.gamma, ....beta                       ....LayerNorm.weight, ....bias
  encoder.layer..., bert.encoder.layer...             whichever of the two the model wants
  h.0..., transformer.h.0...                          likewise for GPT-2
  cls.predictions.decoder.bias                        cls.predictions.bias, and the other way
  cls.predictions.decoder.weight                      [bert.]embeddings.word_embeddings.weight, and the other way, if tied
  cls.squad.weight, ....bias                          qa_outputs.weight, ....bias, or else classifier.weight, ....bias
  lm_head.weight                                      [transformer.]wte.weight, and the other way, if tied
  ....position_ids, ....token_type_ids                left out: buffers that were once saved, not weights
  h.*.attn.bias, h.*.attn.masked_bias                 likewise
"""

from npbert.checkpoints.names.distilbert import (
    arrays_from_distilbert,
    arrays_to_distilbert,
    fields_from_distilbert,
    fields_to_distilbert,
    name_from_distilbert,
    name_to_distilbert,
)
from npbert.checkpoints.names.fitting import Fit, fit_to
from npbert.checkpoints.names.tensorflow import arrays_from_tensorflow

__all__ = [
    "Fit",
    "arrays_from_distilbert",
    "arrays_from_tensorflow",
    "arrays_to_distilbert",
    "fields_from_distilbert",
    "fields_to_distilbert",
    "fit_to",
    "name_from_distilbert",
    "name_to_distilbert",
]

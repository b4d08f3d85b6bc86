"""How the embedded model is made: `python -m colcap.models.tiny.training --out DIR`, from nothing, without a network.

`questions` (what users ask) and `clips` (what the model sees) make examples, `tokens` the vocabulary, `batches` the
tensors; `network` computes, `losses` judges, `learning` repeats, `export` writes the checkpoint and `evaluate` scores
it through vLLM. A command that nothing imports: it stands above the rest of the house, and needs torch.
"""

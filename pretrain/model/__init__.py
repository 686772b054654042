"""The transformer: a list of layers in plain PyTorch. Knows nothing of processes."""

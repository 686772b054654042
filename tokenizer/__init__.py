"""Train, load and run tokenizers. Knows nothing of models.

>>> tokenizer = load_tokenizer("corpora/quickstart/tokenizer")
>>> tokens, lengths = tokenizer.encode_batch(["Hello world", "again"])
"""

from tokenizer.interface import Tokenizer
from tokenizer.load import load_tokenizer
from tokenizer.train import train_tokenizer

__all__ = ["Tokenizer", "load_tokenizer", "train_tokenizer"]

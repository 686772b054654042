"""Models from and to the directories that Hugging Face's transformers loads.

`registry.py` lists the architectures, each of which has a file that says which of our models it holds, what its
config.json says and how its tensors lie. `export.py` and `import_.py` are the two directions; both handle one tensor at
a time. `imported.py` is what a run reads that starts from imported weights.
"""

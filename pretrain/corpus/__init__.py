"""Offline: documents -> clean -> dedup -> tokens -> shards and manifest.

`prepare` runs in three stages, each a set of independent tasks whose results do not depend on who does them:

1. read (sources/, spill.py): every input becomes sorted runs of documents in temporary files;
2. select (select.py): from their hashes alone: limits, exact duplicates, which documents validate;
3. encode (encode.py): every shard gathers its documents from the runs, encodes them, and appears whole or not at all.

Memory is bounded by the size of a run and of a slice of a shard (about 128 MB of text each), not by the corpus.
"""

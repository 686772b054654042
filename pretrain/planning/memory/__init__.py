"""Bytes on a GPU of each pipeline stage, by part."""

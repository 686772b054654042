"""How far planned memory is off on published runs. Of times the hardware says it (`Hardware.error`)."""

MEMORY_ERROR = 0.08
"""Relative half-width of the bytes on a GPU: mean errors of published peaks are 2 to 5%, 3 of 100 outcomes are told
wrong (docs/planning-memory.md)."""

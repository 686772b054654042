"""How far the planner is off, from its validation against published runs (docs/planning-errors.md)."""

ERROR = 0.10
"""Relative half-width of a step's time, and of all that follows from it."""
MEMORY_ERROR = 0.08
"""The same of the bytes on a GPU."""

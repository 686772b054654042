"""How far the planner is off, from its validation against published runs (docs/planning-errors.md)."""

ERROR = 0.10
"""Relative half-width of a step's time, and of all that follows from it: four of five published steps are within it,
each source weighing alike (19 of 20 within 0.21)."""
MEMORY_ERROR = 0.08
"""The same of the bytes on a GPU: mean errors of published peaks are 2 to 5%, 3 of 100 outcomes are told wrong."""

"""Seconds of a step, by what takes them."""

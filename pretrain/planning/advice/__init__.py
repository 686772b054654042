"""Scaling laws: what a budget can train."""

"""A run scaled down and trained on a few CPU processes in several layouts: do they all give what one process gives?"""

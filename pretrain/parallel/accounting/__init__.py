"""What a step really does, counted: arithmetic, messages, saved activations, held memory, instructions.

Each counter is switched on around a piece of code and off after it; without one nothing of this runs.
"""

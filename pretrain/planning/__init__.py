"""What a step should cost, from its configuration alone: arithmetic, messages, memory, idle slots. No torch."""

"""The coordinate check of muP: whether activations change as much in a wide model as in a narrow one."""

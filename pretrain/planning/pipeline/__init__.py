"""A pipeline's passes in their order, replayed."""

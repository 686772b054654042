"""Which parameters an optimizer updates how."""

from pretrain.config.moments import group_of


def test_muon_updates_the_matrices_of_blocks() -> None:
    found = [group_of("muon", f"blocks.0.mlp.{name}", dims) for name, dims in (("up", 2), ("experts", 3), ("bias", 1))]
    assert found == ["orthogonal", "matrix", "vector"]
    assert group_of("muon", "head.weight", 2) == group_of("adamw", "blocks.0.mlp.up", 2) == "matrix"

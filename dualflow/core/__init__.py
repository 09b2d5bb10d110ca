"""Values and the one protocol of ops: Tensor, Variable, devices, trees, records, doors."""

"""What instructions mean in terms of direct ones: formulas, by family; `table` lists them."""

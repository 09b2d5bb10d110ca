"""What is predicted of a transformer: few kernels between its products, that move few bytes."""

from __future__ import annotations

from dataclasses import replace

from dualflow.bench.gpu_data import WORKS
from tests.gpu.predicted import predicted


def test_what_stands_between_the_products_of_a_transformer_is_few_kernels():
    (work,) = [x for x in WORKS if x.name == "GPT-mini, AdamW, bfloat16"]
    found = predicted(replace(work, sizes=work.sizes | {"layers": 1, "batch": 2}))
    assert found.launches <= 66
    kernels = {what.partition(":")[0].partition(" ")[0]: what for _, _, what in found.longest}
    assert "gelu" not in kernels  # it is computed with the sum before it, which nobody stores
    (joined,) = [what for name, what in kernels.items() if name.endswith("add_gelu")]
    assert joined.count("bfloat16") == 2
    assert not any(name.startswith("standardize_affine") for name in kernels)

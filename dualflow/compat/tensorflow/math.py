"""`tf.math`: elementwise functions and reductions."""

from __future__ import annotations

from dualflow.compat.translate import hints, namespace

SAME = """
abs acos acosh add asin asinh atan atan2 atanh ceil cos cosh divide equal erf exp expm1 floor
greater greater_equal less less_equal log log1p logical_and logical_not logical_or maximum
minimum multiply negative not_equal pow round sign sin sinh sqrt square subtract tan tanh
"""
RENAMED = """
cumsum reduce_sum reduce_mean reduce_prod reduce_max reduce_min reduce_std sigmoid
"""

globals().update(namespace("TensorFlow", SAME, RENAMED))
__getattr__ = hints("tensorflow.math")

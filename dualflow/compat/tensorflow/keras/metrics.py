"""`tf.keras.metrics`: the metrics of `df.train`, which have Keras's methods."""

from __future__ import annotations

from dualflow.compat.translate import mirror

__getattr__ = mirror("tensorflow.keras.metrics", "train.metrics")

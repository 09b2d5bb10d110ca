"""`tf.keras.callbacks`: the callbacks of `df.train`, which have Keras's names."""

from __future__ import annotations

from dualflow.compat.translate import mirror

__getattr__ = mirror("tensorflow.keras.callbacks", "train.callbacks")

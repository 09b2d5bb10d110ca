"""Kernels: the loops of one launch, their text, checks, interpreter, and schedules."""

"""Gradients: sweeps over records, the tape, functional transformations, custom rules, checks."""

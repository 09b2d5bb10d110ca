"""Thin namespaces under other frameworks' names, for programs that only change their imports.

They hold what introductory programs use and its nearest neighbours; every value is dualflow's own.
A name that is not there says what to use instead.
"""

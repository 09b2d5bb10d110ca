"""What takes part in `bench peers`: the workloads in each framework, served by own processes.

This package is also imported as `contestants` by interpreters that have no dualflow: only
`of_dualflow` may import it, and every other module needs no more than NumPy and its framework.
"""

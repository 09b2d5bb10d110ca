"""The main job of the command line: training programs in both modes, and what an eager op costs."""

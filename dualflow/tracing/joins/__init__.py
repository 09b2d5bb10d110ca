"""Joins: where ways through a function come to the same point, they go on as one.

A *crossing* is a question that Python asks of a tensor while it is recorded, at a point of the
program whose state is known: the code and instruction of every frame, and what their variables
hold. Crossings that are alike become one node of a graph of *stretches*, each compiled by itself.
So branches join, `while` loops close, and n branches in a row make 2n stretches, not 2**n paths.

`code` reads bytecode, `frames` the frames that run, `keys` says when two states are alike,
`crossings` notes them (as `sites` has them), `choice` says at which to cut, `cut` parts a recording
there, and `joined` runs the stretches. What is done with tapes is noted by `acts`, and done between
stretches by `tapes`.
"""

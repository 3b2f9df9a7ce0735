"""Other ways to compress an ensemble, each written from its paper: `compress(problem)` returns a forest.

`problem` is a `protocol_problem.Problem`: all are fitted on the same rows, choose by the same rows, and lose the same at most.
"""

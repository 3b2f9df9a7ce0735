"""LOP: an L1-penalised linear model over the subtrees of a level, level after level.

Source: Devos, Martens, Oruc, Meert, Blockeel and Davis, "Compressing tree ensembles through Level-wise Optimization and
Pruning", ICML 2025, Algorithm 1 and the section on experiments (grid of penalties, two rounds, the validation fold chooses).
The implementation is the library's own, held to the letter of the paper. Its rule looks at the balanced accuracy of each class
against the rest, or at the root mean squared error as a share, whatever the goal's score is.
"""

from protocol_problem import Problem

from ensemble_compress.algorithms import PruneLevels
from ensemble_compress.forest import Forest


def compress(problem: Problem) -> Forest:
    """What LOP makes of the teacher; values should be standardised."""
    lop = PruneLevels(method="paper", tolerance=problem.goal.tolerance, random_state=problem.random_state)
    return lop.within(problem.forest, problem.train, problem.valid)

"""The one noun of this library: a `Forest`, an immutable struct of arrays that every part reads the same way.

Nodes lie in pre-order, one tree behind the other: the left child of split j is node j + 1, so only the right child
is stored. A test sends a row left when `x <= threshold`, or, where the node has a category set, when the code of x is
in the set; a missing value goes left where `nan_left` says so. A leaf names a row of `values`; rows may be shared.
The invariants are checked once, at birth, in O(n_nodes), and by nobody else.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_compress import predict
from ensemble_compress.engines import structure
from ensemble_compress.errors import InputError, UnsupportedModelError
from ensemble_compress.nodes import (
    NO_SETS,
    NODE_DTYPES,
    CategorySets,
    Nodes,
    are_below,
    check,
    count_thresholds,
    distinct_rows,
    find_of_each,
    frozen,
    keep_some,
    renumber,
    same,
    summary,
    take_sets,
    take_trees,
    to_text,
)


@dataclass(frozen=True, eq=False, repr=False)
class Forest:
    """A tree ensemble as arrays.

    The margin of a row is `(bias + the sum of its leaves, tree after tree) / divisor`, summed in the dtype of
    `values`, the bias first or last; the prediction is the link of the margin.

    Parameters
    ----------
    nodes : Nodes
        The nodes in pre-order, tree behind tree.
    tree_start : ndarray of shape (n_trees + 1,) int32
        Tree t holds the nodes from `tree_start[t]` to `tree_start[t + 1]`.
    tree_output : ndarray of shape (n_trees,) int32
        The margin's column that a tree adds to; -1 adds a row of values to all of them.
    values : ndarray of shape (n_values, width) float32 or float64
        Leaf values; width is 1 or n_outputs.
    bias : ndarray of shape (n_outputs,)
        What the sums start from, or end with; the dtype of `values`.
    n_features : int
        Columns of X.
    divisor : float
        What the sums are divided by, at the end.
    link : str
        Key of `predict.LINKS`: from margins to predictions.
    link_scale : float
        What the margin is multiplied by in the link; 1 but for a sigmoid.
    x_dtype : {"float32", "float64"}
        What X is cast to before any comparison.
    classes : ndarray of shape (n_classes,), optional
        Labels of a classifier, one a column of the margin (one column for two classes); None for regression.
    category_sets : CategorySets
        The sets that categorical splits name.
    category_rule : {"floor", "truncate", "exact"}
        The code of a number that is no whole one, in a column of categories: `predict.CATEGORY_RULES`.
    handles_nan : bool
        Whether rows with missing values are predicted or refused.
    feature_names : tuple of str, optional
        Names of the columns of X.
    categories : tuple, optional
        For each feature the levels of a DataFrame's column behind its codes, or None.
    tie_class : {0, 1}
        The class of a margin of exactly zero, where one output tells two classes.
    bias_last : bool
        Whether the sums start from 0 and the bias is added to the sum of all trees: it rounds otherwise.
    levels_as_codes : bool
        Whether a DataFrame's column of categories of unknown levels is read as its codes; else as its numbers.
    absent_is_missing : bool
        Whether an entry that a sparse X doesn't store is a missing value, as XGBoost has it; else it is 0.

    Raises
    ------
    ForestError
        The arrays break an invariant: the message names the tree and the node.
    """

    nodes: Nodes
    tree_start: NDArray[np.int32]
    tree_output: NDArray[np.int32]
    values: NDArray[Any]
    bias: NDArray[Any]
    n_features: int
    divisor: float = 1.0
    link: str = "identity"
    link_scale: float = 1.0
    x_dtype: str = "float32"
    classes: NDArray[Any] | None = None
    category_sets: CategorySets = NO_SETS
    category_rule: str = "floor"
    handles_nan: bool = True
    feature_names: tuple[str, ...] | None = None
    categories: tuple[tuple[Any, ...] | None, ...] | None = None
    tie_class: int = 0
    bias_last: bool = False
    levels_as_codes: bool = True
    absent_is_missing: bool = False

    def __post_init__(self) -> None:
        def freeze(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        freeze("nodes", Nodes(*(frozen(a, d) for a, d in zip(self.nodes, NODE_DTYPES, strict=True))))
        freeze("tree_start", frozen(self.tree_start, np.int32))
        freeze("tree_output", frozen(self.tree_output, np.int32))
        dtype = np.float32 if np.asarray(self.values).dtype == np.float32 else np.float64
        freeze("values", frozen(self.values, dtype))
        freeze("bias", frozen(self.bias, dtype))
        sets = zip(self.category_sets, (np.int32, np.uint32), strict=True)
        freeze("category_sets", CategorySets(*(frozen(a, d) for a, d in sets)))
        freeze("divisor", float(self.divisor))
        freeze("link_scale", float(self.link_scale))
        if self.classes is not None:
            freeze("classes", frozen(self.classes, np.asarray(self.classes).dtype))
        check(self)

    # -- what it is -------------------------------------------------------------------------------------------

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.tree_start) - 1

    @property
    def n_nodes(self) -> int:
        """Number of nodes, splits and leaves."""
        return len(self.nodes.feature)

    @property
    def n_leaves(self) -> int:
        """Number of leaves."""
        return (self.n_nodes + self.n_trees) // 2

    @property
    def n_values(self) -> int:
        """Number of distinct rows of values among the leaves."""
        used = self.values[np.unique(self.nodes.leaf[self.is_leaf])]
        return len(distinct_rows(used + used.dtype.type(0))[0])

    @property
    def n_thresholds(self) -> int:
        """Number of distinct pairs of feature and threshold."""
        return count_thresholds(self.nodes)

    @property
    def n_outputs(self) -> int:
        """Number of columns of the margin."""
        return len(self.bias)

    @property
    def is_classifier(self) -> bool:
        """Whether the forest predicts one of `classes`."""
        return self.classes is not None

    @property
    def link_text(self) -> str:
        """The link in words, with its scale."""
        return (
            self.link if self.link_scale == 1.0 else f"{self.link} of {self.link_scale:.9g} times the margin"
        )

    @property
    def is_leaf(self) -> NDArray[np.bool_]:
        """Whether each node is a leaf, shape (n_nodes,)."""
        return self.nodes.feature < 0

    @property
    def tree_of_node(self) -> NDArray[np.int32]:
        """The tree that each node belongs to, shape (n_nodes,)."""
        return np.repeat(np.arange(self.n_trees, dtype=np.int32), np.diff(self.tree_start))

    @property
    def subtree_end(self) -> NDArray[np.int32]:
        """One past the last node of each node's subtree, shape (n_nodes,)."""
        return find_of_each(structure.find_subtree_ends, self.nodes, 0)

    @property
    def parent(self) -> NDArray[np.int32]:
        """Each node's parent, -1 at a root, shape (n_nodes,)."""
        return find_of_each(structure.find_parents, self.nodes, -1)

    @property
    def depth(self) -> NDArray[np.int32]:
        """The number of splits above each node, shape (n_nodes,)."""
        return find_of_each(structure.find_depths, self.nodes, 0)

    def __repr__(self) -> str:
        return summary(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Forest):
            return NotImplemented
        return all(same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Forest, tuple(getattr(self, f.name) for f in fields(self))

    # -- what it answers --------------------------------------------------------------------------------------

    @cached_property
    def _plan(self) -> predict.Plan:
        arrays = self.nodes, self.category_sets, self.tree_start, self.tree_output, self.values
        # Threads that ask at once get the same one, so that trees are laid out once.
        plan: predict.Plan = self.__dict__.setdefault("_plan", predict.Plan(*arrays, self.x_dtype))
        return plan

    @cached_property
    def _margins(self) -> predict.Margins:
        return predict.margins_by(self._door, self._plan, self.bias, self.bias_last, self.divisor)

    @cached_property
    def _door(self) -> predict.Door:
        own = {field.name for field in fields(self)} & {field.name for field in fields(predict.Door)}
        columns = np.unique(self.nodes.feature[self.nodes.category_set >= 0]).tolist()
        return predict.Door(
            dtype=self.x_dtype, category_columns=columns, **{name: getattr(self, name) for name in own}
        )

    def rows(self, X: Any) -> NDArray[Any]:
        """X as the engines read it: checked, C-contiguous, of dtype `x_dtype`, categories by `category_rule`."""
        return self._door.open(X).whole()

    def prepare(self) -> "Forest":
        """The same forest, laid out for the fastest engines at its next call and not only once it is asked often."""
        self._plan.prepare()
        return self

    def find_leaves(self, X: Any, n_jobs: int | None = None) -> NDArray[np.int32]:
        """The node where each row ends in each tree, numbered through the forest, shape (n_rows, n_trees)."""
        return predict.find_leaves_of(self._plan, self._door.open(X), n_jobs)

    def apply(self, X: Any, n_jobs: int | None = None) -> NDArray[np.int32]:
        """The leaf where each row ends in each tree, as the source library numbers it, shape (n_rows, n_trees).

        scikit-learn's `apply` and XGBoost's `pred_leaf` give the node's number in its tree, LightGBM's `pred_leaf`
        the leaf's number. A node that compression made a leaf keeps the number that it had as a split.
        """
        return np.asarray(self.nodes.node_id[self.find_leaves(X, n_jobs)])

    def margin(self, X: Any, n_jobs: int | None = None) -> NDArray[Any]:
        """The sums before the link, shape (n_rows, n_outputs), in the dtype of `values`.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features), DataFrame or sparse matrix
            Rows. What is not C-contiguous and of dtype `x_dtype` is cast a block at a time.
        n_jobs : int, optional
            The most threads; None and -1 take all that the surroundings grant, as far as there are rows enough.

        Raises
        ------
        InputError
            X does not fit the model.
        """
        return self._margins(X, n_jobs)

    def predict(self, X: Any, n_jobs: int | None = None) -> NDArray[Any]:
        """Labels of a classifier, the linked margin otherwise (shape (n_rows,) for one output)."""
        margin = self.margin(X, n_jobs)
        if self.classes is not None:
            return np.asarray(self.classes[self.decide(margin)])
        answer = self.linked(margin)
        return answer[:, 0] if self.n_outputs == 1 else answer

    def decide(self, margin: NDArray[Any]) -> NDArray[np.intp]:
        """The class code of each row of margins: the largest wins, the lower code (a lone zero: `tie_class`) among equals."""
        return predict.decide(margin, self.classes is not None and len(self.classes) == 2, self.tie_class)

    def predict_proba(self, X: Any, n_jobs: int | None = None) -> NDArray[Any]:
        """The probability of each class, shape (n_rows, n_classes).

        Raises
        ------
        UnsupportedModelError
            The forest is no classifier.
        """
        return self.probabilities(self.margin(X, n_jobs))

    def probabilities(self, margin: NDArray[Any]) -> NDArray[Any]:
        """The probability of each class from margins, shape (n_rows, n_classes)."""
        if self.classes is None:
            raise UnsupportedModelError("predict_proba needs a classifier; this forest is a regression model")
        return predict.as_probabilities(self.linked(margin), self.link, len(self.classes))

    def linked(self, margin: NDArray[Any]) -> NDArray[Any]:
        """The link of margins, of their shape and dtype."""
        return predict.apply_link(margin, self.link, self.link_scale)

    def answers(self, margin: NDArray[Any]) -> NDArray[np.float64]:
        """What margins say, as float64: the probability of each class, or the predicted values."""
        found = self.probabilities(margin) if self.is_classifier else self.linked(margin)
        return np.asarray(found, np.float64)

    def to_text(self, max_nodes: int = 200) -> str:
        """The trees as indented text, a line a node, at most `max_nodes` of them."""
        return to_text(self, max_nodes)

    # -- what can be made of it -------------------------------------------------------------------------------

    def take(self, trees: Any) -> "Forest":
        """The forest of the chosen trees, in the order given; the divisor stays.

        Parameters
        ----------
        trees : array-like of int, or boolean mask of shape (n_trees,)
            Which trees.
        """
        index = np.asarray(trees)
        chosen = np.arange(self.n_trees)[index if index.size else []]
        nodes, start = take_trees(self.nodes, self.tree_start, chosen)
        return self._with_nodes(nodes, start, self.tree_output[chosen])

    def replace_subtrees(self, nodes: Any, values: Any) -> "Forest":
        """Turn splits into leaves: everything below them goes.

        Parameters
        ----------
        nodes : array-like of int
            Nodes to become leaves, numbered through the forest; one below another goes with it.
        values : array-like of shape (len(nodes), width)
            Their leaf values.
        """
        at, values = np.asarray(nodes, np.int64), np.asarray(values, self.values.dtype)
        if values.shape != (len(at), self.values.shape[1]):
            raise InputError(
                f"values has shape {values.shape}; expected {(len(at), self.values.shape[1])}: a row a node"
            )
        leaf = self.nodes.leaf.copy()
        leaf[at] = len(self.values) + np.arange(len(at), dtype=np.int32)
        wider = replace(self, values=np.concatenate([self.values, values]))
        return wider.keep_nodes(~are_below(at, self.subtree_end), leaf)

    def keep_nodes(self, keep: NDArray[np.bool_], leaf: NDArray[np.int32] | None = None) -> "Forest":
        """Drop nodes; the first kept node of a subtree takes the place of the dropped ones above it.

        Dropping a split with one of its two subtrees puts the other subtree in its place; dropping both subtrees of
        a kept split needs a value row for it in `leaf`; dropping all nodes of a tree drops the tree.

        Parameters
        ----------
        keep : ndarray of shape (n_nodes,) bool
            Which nodes stay.
        leaf : ndarray of shape (n_nodes,) int32, optional
            The row of `values` of each node that is a leaf afterwards, -1 at the splits; as before where None.
        """
        nodes = keep_some(self.nodes, keep, self.nodes.leaf if leaf is None else leaf)
        start = np.append(0, np.cumsum(keep))[self.tree_start]
        stays = np.append(np.diff(start) > 0, True)
        return self._with_nodes(nodes, start[stays], self.tree_output[stays[:-1]])

    def with_values(self, values: NDArray[Any], bias: NDArray[Any] | None = None, **others: Any) -> "Forest":
        """The same trees with one row of `values` for each leaf, in the order of the leaves.

        Parameters
        ----------
        values : ndarray of shape (n_leaves, width)
            New leaf values; equal rows are stored once.
        bias : ndarray of shape (n_outputs,), optional
            A new bias.
        **others
            Further fields to replace, such as `divisor`, `link` or `tree_output`.
        """
        first, index = distinct_rows(np.ascontiguousarray(values))
        leaf = self.nodes.leaf.copy()
        leaf[self.is_leaf] = index
        others |= {"bias": self.bias if bias is None else bias}
        return replace(self, nodes=self.nodes._replace(leaf=leaf), values=values[first], **others)

    def _with_nodes(self, nodes: Nodes, tree_start: Any, tree_output: Any) -> "Forest":
        """The forest of these nodes, without the value rows and category sets that none of them names."""
        leaf, used = renumber(nodes.leaf)
        category_set, used_sets = renumber(nodes.category_set)
        return replace(
            self,
            nodes=nodes._replace(leaf=leaf, category_set=category_set),
            tree_start=tree_start,
            tree_output=tree_output,
            values=self.values[used],
            category_sets=take_sets(self.category_sets, used_sets),
        )

/* The traversals of a forest for rows of type ROW. Included once for each pair of a type and a length of vectors: NAME(x) makes
 * a name of its own, LEVEL_NAME(x) is that of bit_vectors.h. writers/library_tables.py tells what a table holds. */

/* -- one node after the other: eight walks at once, whose loads do not wait for each other ------------------------- */

/* The node after node j. A leaf's test fails for every number, missing ones too, and its offset is 0. */
INLINE uint32_t NAME(next_node)(uint32_t j, const ROW *row, uint32_t *moved)
{
    const node_t node = NODES[j];
    const uint32_t offset = NODE_OFFSET(node);
    const VALUE x = (VALUE)row[node.test & FEATURE_MASK];
    uint32_t left = x <= threshold_of(node);
#if HAS_SETS
    if (node.test >> SET_BIT & 1) left = is_in_set(NODE_ITEM(node), x);
#endif
#if HAS_NAN_LEFT
    left |= (uint32_t)(x != x) & (node.test >> NAN_LEFT_BIT);
#endif
    *moved |= offset;
    return j + (offset ^ ((offset ^ 1) & all_bits(left)));
}

/* n walks from the nodes in `at` to their leaves; walk q is of the row that begins q * stride behind `row`. */
INLINE void NAME(descend)(const ROW *row, const size_t stride, const uint32_t n, uint32_t *at)
{
    uint32_t node[FEW_LANES], moved, q;
    for (q = 0; q < n; q++) node[q] = at[q];
    do {
        moved = 0;
        for (q = 0; q < n; q++) node[q] = NAME(next_node)(node[q], row + q * stride, &moved);
    } while (moved);
    for (q = 0; q < n; q++) at[q] = node[q];
}

/* Few rows: many trees at once. */
static void NAME(walk_few)(const ROW *rows, size_t n_rows, uint32_t first, uint32_t last, double *out)
{
    uint32_t at[FEW_LANES], t, q;
    size_t i;
    for (i = 0; i < n_rows; i++) {
        for (t = first; t < last; t += FEW_LANES) {
            for (q = 0; q < FEW_LANES; q++) at[q] = TREE_START[t + q < last ? t + q : last - 1];
            NAME(descend)(rows + i * N_FEATURES, 0, FEW_LANES, at);
            for (q = 0; q < FEW_LANES && t + q < last; q++) {
                add_values(t + q, NODE_ITEM(NODES[at[q]]), out + i * N_OUTPUTS);
            }
        }
    }
}

/* Many rows: eight rows at once, all of them through a tree before the next tree. */
static void NAME(walk_many)(const ROW *rows, size_t n_rows, uint32_t first, uint32_t last, double *out)
{
    const size_t whole = n_rows - n_rows % LANES;
    uint32_t at[LANES], t, q;
    size_t i;
    for (t = first; t < last; t++) {
        for (i = 0; i < whole; i += LANES) {
            for (q = 0; q < LANES; q++) at[q] = TREE_START[t];
            NAME(descend)(rows + i * N_FEATURES, N_FEATURES, LANES, at);
            for (q = 0; q < LANES; q++) add_values(t, NODE_ITEM(NODES[at[q]]), out + (i + q) * N_OUTPUTS);
        }
    }
    NAME(walk_few)(rows + whole * N_FEATURES, n_rows - whole, first, last, out + whole * N_OUTPUTS);
}

/* -- bit vectors: all splits of a tree, for a block of rows ------------------------------------------------------- */

#if HAS_BITS
/* Add to `low` how many of the cuts lie below x, for LANES numbers: no step of one waits for another's. */
INLINE void NAME(search)(const VALUE *cuts, uint32_t n_cuts, const VALUE *x, uint32_t *low)
{
    uint32_t half, q;
    for (half = n_cuts >> 1; half > 0; half >>= 1) {
        for (q = 0; q < LANES; q++) low[q] += half & all_bits(cuts[low[q] + half - 1] < x[q]);
    }
}

/* Write the ranks of the rows in each column of a run: how many of the column's thresholds lie below. */
INLINE void NAME(rank_rows)(const run_t *run, const ROW *rows, uint32_t n_rows, int16_t *ranks)
{
    uint32_t c, i, q, low[LANES];
    VALUE x[LANES];
    for (c = 0; c < run->n_columns; c++) {
        const column_t *column = COLUMNS + run->first_column + c;
        const ROW *of_column = rows + column->feature;
        for (i = 0; i < n_rows; i += LANES) {
            for (q = 0; q < LANES; q++) {
                x[q] = (VALUE)of_column[(i + q < n_rows ? i + q : n_rows - 1) * (size_t)N_FEATURES];
                low[q] = 0;
            }
            NAME(search)(CUTS + column->first_cut, column->n_cuts, x, low);
#if HAS_SETS
            if (column->set >= 0) {
                for (q = 0; q < LANES; q++) low[q] = !is_in_set((uint32_t)column->set, x[q]);
            }
#endif
            for (q = 0; q < LANES; q++) {
                ranks[c * BLOCK + i + q] = (int16_t)(x[q] != x[q] ? column->missing : (int32_t)low[q]);
            }
        }
    }
}

/* The trees of a run for at most BLOCK rows. */
static void NAME(try_block)(const run_t *run, const ROW *rows, uint32_t n_rows, double *out)
{
    ALIGNED int16_t ranks[MOST_COLUMNS * BLOCK];
    ALIGNED int16_t places[CHUNK * BLOCK];
    uint32_t first, t;
    if (n_rows < BLOCK) memset(ranks, 0, run->n_columns * sizeof *ranks * BLOCK);
    NAME(rank_rows)(run, rows, n_rows, ranks);
    for (first = run->first_tree; first < run->last_tree; first += CHUNK) {
        const uint32_t n = run->last_tree - first < CHUNK ? run->last_tree - first : CHUNK;
        for (t = 0; t < n; t++) {
            if (n_rows > BLOCK / 2) LEVEL_NAME(find_places)(first + t, ranks, places + t * BLOCK);
            else LEVEL_NAME(find_half)(first + t, ranks, places + t * BLOCK);
        }
        LEVEL_NAME(add_leaves)(first, n, n_rows, places, out);
    }
}
#endif

/* -- all trees ---------------------------------------------------------------------------------------------------- */

/* Add the leaves of the trees of a run to the sums of some rows. */
static void NAME(add_run)(const run_t *run, const ROW *rows, size_t n_rows, double *out)
{
#if HAS_BITS
    while (run->fewest_rows > 0 && n_rows >= run->fewest_rows) {
        const uint32_t n = n_rows < BLOCK ? (uint32_t)n_rows : BLOCK;
        NAME(try_block)(run, rows, n, out);
        rows += n * (size_t)N_FEATURES;
        out += n * (size_t)N_OUTPUTS;
        n_rows -= n;
    }
    if (run->fewest_rows > 0) {
        NAME(walk_few)(rows, n_rows, run->first_tree, run->last_tree, out);
        return;
    }
#endif
    NAME(walk_many)(rows, n_rows, run->first_tree, run->last_tree, out);
}

/* Write the margins of some rows. */
static void NAME(margins)(const ROW *rows, size_t n_rows, double *out)
{
    size_t i, k, n;
    uint32_t r;
    for (; n_rows > 0; n_rows -= n) {
        n = n_rows < WALK_BLOCK ? n_rows : WALK_BLOCK;
        for (i = 0; i < n; i++) {
            for (k = 0; k < N_OUTPUTS; k++) *slot(out + i * N_OUTPUTS + k) = BIAS_LAST ? 0 : BIAS[k];
        }
        for (r = 0; r < N_RUNS; r++) NAME(add_run)(RUNS + r, rows, n, out);
        for (i = 0; i < n; i++) {
            for (k = 0; k < N_OUTPUTS; k++) finish(out + i * N_OUTPUTS + k, k);
        }
        rows += n * N_FEATURES;
        out += n * N_OUTPUTS;
    }
}

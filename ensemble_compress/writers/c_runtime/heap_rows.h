/* The heap walk for rows of type ROW: their ranks, and the sums. Included by traversal.h for each pair of a type and a length of
 * vectors. */

/* Write the ranks of a pair's first column for at most WALK_BLOCK rows from row i on; returns whether a value is missing: it is above
 * all others then, and below all others in the pair's second column. */
INLINE uint32_t NAME(find_column)(const pair_t *pair, const ROW *rows, uint32_t i, uint32_t n_rows, uint16_t *column)
{
    const uint32_t last = n_rows - i < WALK_BLOCK ? n_rows : i + WALK_BLOCK;
    uint32_t q, is_missing = 0, rank[SEARCHES];
    VALUE x[SEARCHES];
    for (; i < last; i += SEARCHES, column += SEARCHES) {
        NAME(read_column)(rows, i, last, pair->feature, SEARCHES, x);
        LEVEL_NAME(find_ranks)(pair, x, SEARCHES, rank);
        for (q = 0; q < SEARCHES; q++) column[q] = (uint16_t)rank[q];
        if (!LEVEL_NAME(is_any_missing)(x, SEARCHES)) continue;
        for (q = 0; q < SEARCHES; q++) column[q] |= (uint16_t)all_bits(x[q] != x[q]);
        is_missing = 1;
    }
    return is_missing;
}

/* Write the ranks of a chunk of rows, column by column, for a column's thresholds are too many to stay near while all others are read;
 * returns whether a value is missing. `may_miss` says whether there is room for the second columns. */
static uint32_t NAME(find_ranks_of_chunk)(const run_t *run, const ROW *rows, uint32_t n_rows, uint32_t may_miss, uint16_t *keys)
{
    const size_t of_block = keys_of_block(run, may_miss);
    uint32_t begin, i, p, is_missing = 0;
    if (n_rows % WALK_BLOCK) memset(keys + n_rows / WALK_BLOCK * of_block, 0, of_block * sizeof *keys);
    for (begin = 0; begin < n_rows && !(is_missing && run->second && !may_miss); begin += SEARCHED) {
        const uint32_t last = n_rows - begin < SEARCHED ? n_rows : begin + SEARCHED;
        for (p = 0; p < run->n_walked_pairs; p++) {
            const pair_t *pair = PAIRS + run->first_walked_pair + p;
            for (i = begin; i < last; i += WALK_BLOCK) {
                uint16_t *column = keys + i / WALK_BLOCK * of_block + (size_t)pair->above * WALK_BLOCK;
                is_missing |= NAME(find_column)(pair, rows, i, last, column);
            }
        }
    }
    for (i = 0; i < n_rows; i += WALK_BLOCK) {
        uint16_t *block = keys + i / WALK_BLOCK * of_block;
        memset(block + (size_t)run->n_walked_pairs * WALK_BLOCK, 0, WALK_BLOCK * sizeof *keys); /* what leaves read */
        if (may_miss) copy_ranks_below(run, WALK_BLOCK, block);
    }
    return is_missing;
}

/* All trees of a run for a chunk of rows: a tree is loaded once for all of them, while rows go through the one before it. */
static void NAME(add_heaps)(const run_t *run, uint32_t n_rows, uint32_t is_missing, const uint16_t *keys, double *out)
{
    const size_t of_block = keys_of_block(run, is_missing), mask = rank_mask(run, is_missing);
    const size_t n_blocks = (n_rows + WALK_BLOCK - 1) / WALK_BLOCK;
    const heap_node_t *nodes = is_missing ? HEAP_NODES : HEAP_NODES_WHOLE;
    ALIGNED uint32_t found[WALK_BLOCK];
    wanted_t wanted[N_WANTED];
    uint32_t q, t;
    size_t b;
    for (t = run->first_tree; t < run->last_tree; t++) {
        const SUM *values = HEAP_VALUES + HEAPS[t].value * (size_t)WIDTH;
        const uint32_t is_wanted = n_rows >= FEWEST_FETCHED && t + 1 < run->last_tree;
        if (is_wanted) find_wanted(t + 1, nodes, n_blocks, wanted);
        for (b = 0; b < n_blocks; b++) {
            const uint32_t i = (uint32_t)b * WALK_BLOCK, n = n_rows - i < WALK_BLOCK ? n_rows - i : WALK_BLOCK;
            if (is_wanted) fetch(wanted, b);
            LEVEL_NAME(find_rows)(t, nodes, keys + b * of_block, mask, found);
            for (q = 0; q < n; q++) add_row(t, values + found[q] * (size_t)WIDTH, out + (i + q) * (size_t)N_OUTPUTS);
        }
    }
}

/* As many rows at once as have room for their ranks: fewer where values are missing. */
APART void NAME(walk_many_heaps)(const run_t *run, const ROW *rows, size_t n_rows, double *out)
{
    ALIGNED uint16_t keys[MOST_RANKS];
    uint32_t n, is_missing;
    for (; n_rows > 0; n_rows -= n) {
        n = heap_rows_of_chunk(run, n_rows, 0);
        is_missing = NAME(find_ranks_of_chunk)(run, rows, n, 0, keys) && run->second;
        if (is_missing) {
            n = heap_rows_of_chunk(run, n_rows, 1);
            NAME(find_ranks_of_chunk)(run, rows, n, 1, keys);
        }
        NAME(add_heaps)(run, n, is_missing, keys, out);
        rows += n * (size_t)N_FEATURES;
        out += n * (size_t)N_OUTPUTS;
    }
}

/* Write the ranks of fewer than WALK_BLOCK rows; returns whether second columns are read. One or two rows are not worth searches side
 * by side. */
INLINE uint32_t NAME(find_few_ranks)(const run_t *run, const ROW *rows, uint32_t n_rows, uint16_t *keys)
{
    uint32_t p, i, rank, is_missing = 0;
    if (n_rows > 2) return NAME(find_ranks_of_chunk)(run, rows, n_rows, 1, keys) && run->second;
    for (p = 0; p < run->n_walked_pairs; p++) {
        const pair_t *pair = PAIRS + run->first_walked_pair + p;
        for (i = 0; i < n_rows; i++) {
            const VALUE x = (VALUE)rows[i * (size_t)N_FEATURES + pair->feature];
            const uint32_t is_nan = x != x;
            LEVEL_NAME(find_ranks)(pair, &x, 1, &rank);
            keys[(size_t)pair->above * WALK_BLOCK + i] = (uint16_t)(rank | all_bits(is_nan));
            is_missing |= is_nan;
        }
    }
    for (i = 0; i < n_rows; i++) keys[(size_t)run->n_walked_pairs * WALK_BLOCK + i] = 0;
    if (is_missing) copy_ranks_below(run, n_rows, keys);
    return is_missing && run->second;
}

/* Few rows: eight trees at once. */
APART void NAME(walk_few_heaps)(const run_t *run, const ROW *rows, uint32_t n_rows, double *out)
{
    ALIGNED uint16_t keys[RANKS_OF_BLOCK];
    const heap_t *trees[WALK_LANES];
    const uint32_t is_missing = NAME(find_few_ranks)(run, rows, n_rows, keys);
    const heap_node_t *nodes = is_missing ? HEAP_NODES : HEAP_NODES_WHOLE;
    const size_t mask = rank_mask(run, is_missing);
    size_t found[WALK_LANES];
    uint32_t i, t, q;
    for (t = run->first_tree; t < run->last_tree; t += WALK_LANES) {
        const uint32_t n = run->last_tree - t < WALK_LANES ? run->last_tree - t : WALK_LANES;
        for (q = 0; q < WALK_LANES; q++) trees[q] = HEAPS + t + (q < n ? q : 0);
        for (i = 0; i < n_rows; i++) {
            LEVEL_NAME(find_rows_of_trees)(trees, nodes, keys + i, mask, found);
            for (q = 0; q < n; q++) add_row(t + q, HEAP_VALUES + found[q] * WIDTH, out + i * (size_t)N_OUTPUTS);
        }
    }
}

/* The traversals of a forest for rows of type ROW. Included once for each pair of a type and a length of vectors: NAME(x) makes
 * a name of its own, LEVEL_NAME(x) is that of bit_vectors.h. writers/library_tables.py and its neighbours tell what the tables hold. */

/* -- numbers in tables --------------------------------------------------------------------------------------------- */

#if HAS_BITS || HAS_PACKED || HAS_HEAPS
/* Values of a column, of n rows from row i on; behind the last row comes the last one again. */
INLINE void NAME(read_column)(const ROW *rows, uint32_t i, uint32_t n_rows, uint32_t feature, const uint32_t n, VALUE *x)
{
    const ROW *first = rows + i * (size_t)N_FEATURES + feature;
    const uint32_t last = n_rows - i - 1;
    uint32_t q;
    if (last >= n - 1) {
        for (q = 0; q < n; q++) x[q] = (VALUE)first[q * (size_t)N_FEATURES];
        return;
    }
    for (q = 0; q < n; q++) x[q] = (VALUE)first[(q < last ? q : last) * (size_t)N_FEATURES];
}
#endif

/* -- one node after the other: what the packed walk cannot have ------------------------------------------------------ */

#if HAS_PLAIN
/* The leaf's values in a tree, for a row. */
INLINE uint32_t NAME(find_item)(uint32_t tree, const ROW *row)
{
    const node_t *node = NODES + TREE_START[tree];
    while (node->offset) {
        const VALUE x = (VALUE)row[node->feature];
        uint32_t left = (double)x <= node->threshold;
#if HAS_SETS
        if (node->flags & 2) left = is_in_set(node->item, x);
#endif
        left |= (uint32_t)(x != x) & node->flags;
        node += left ? 1 : node->offset;
    }
    return node->item;
}

static void NAME(walk_plain)(const run_t *run, const ROW *rows, size_t n_rows, double *out)
{
    uint32_t t;
    size_t i;
    for (i = 0; i < n_rows; i++) {
        for (t = run->first_tree; t < run->last_tree; t++) {
            add_values(t, NAME(find_item)(t, rows + i * N_FEATURES), out + i * N_OUTPUTS);
        }
    }
}
#endif

/* -- the packed walk: keys in place of values ------------------------------------------------------------------------ */

#if HAS_PACKED
/* Write the keys of n values of a pair's first column. */
INLINE void NAME(make_keys)(const pair_t *pair, const VALUE *x, const uint32_t n, uint32_t *key)
{
#if KEYS_ARE_BITS
    uint32_t q;
    if (pair->set < 0) {
        for (q = 0; q < n; q++) key[q] = bits_of(x[q]);
        return;
    }
#endif
    LEVEL_NAME(find_ranks)(pair, x, n, key);
}

/* Write the keys of some rows, column by column, `SEARCHES` rows at a time or one; returns whether a value is missing: it has a key
 * above all others then, and below all others in its pair's second column. */
INLINE uint32_t NAME(find_keys)(const run_t *run, const ROW *rows, uint32_t n_rows, const uint32_t n_lanes, uint32_t *keys)
{
    uint32_t p, i, q, is_missing = 0, key[SEARCHES];
    VALUE x[SEARCHES];
    for (p = 0; p < run->n_walked_pairs; p++) {
        const pair_t *pair = PAIRS + run->first_walked_pair + p;
        uint32_t *column = keys + (size_t)pair->above * WALK_BLOCK;
        for (i = 0; i < n_rows; i += n_lanes) {
            NAME(read_column)(rows, i, n_rows, pair->feature, n_lanes, x);
            NAME(make_keys)(pair, x, n_lanes, key);
            for (q = 0; q < n_lanes; q++) column[i + q] = key[q];
            if (!LEVEL_NAME(is_any_missing)(x, n_lanes)) continue;
            for (q = 0; q < n_lanes; q++) column[i + q] |= all_bits(x[q] != x[q]);
            is_missing = 1;
        }
    }
    /* What leaves read. */
    for (i = 0; i < n_rows; i++) keys[(size_t)run->n_walked_pairs * WALK_BLOCK + i] = 0;
    return is_missing;
}

/* Few rows: eight trees at once. */
APART void NAME(walk_few)(const run_t *run, const ROW *rows, size_t n_rows, double *out)
{
    ALIGNED uint32_t keys[KEYS_OF_BLOCK];
    const record_t *trees[WALK_LANES];
    size_t places[WALK_LANES];
    uint32_t t, q;
    for (; n_rows > 0; n_rows--) {
        const uint32_t is_missing = NAME(find_keys)(run, rows, 1, 1, keys);
        const uint32_t mask = column_mask(run, is_missing);
        if (is_missing) copy_below(run, 1, keys);
        for (t = run->first_tree; t < run->last_tree; t += WALK_LANES) {
            const uint32_t n = run->last_tree - t < WALK_LANES ? run->last_tree - t : WALK_LANES;
            for (q = 0; q < WALK_LANES; q++) {
                trees[q] = RECORDS + TREE_START[t + (q < n ? q : 0)];
                places[q] = 0;
            }
            LEVEL_NAME(walk)(trees, 1, keys, 0, mask, places);
            for (q = 0; q < n; q++) add_values(t + q, trees[q][places[q]].key, out);
        }
        rows += N_FEATURES;
        out += N_OUTPUTS;
    }
}

/* Write the keys of a chunk of rows, block after block; returns whether a value is missing, and stops there where that takes second
 * columns and there is no room for them: `may_miss` says whether there is. */
static uint32_t NAME(find_keys_of_chunk)(const run_t *run, const ROW *rows, uint32_t n_rows, uint32_t may_miss, uint32_t *keys)
{
    const size_t of_block = keys_of_block(run, may_miss);
    uint32_t i, is_missing = 0;
    for (i = 0; i < n_rows && !(is_missing && run->second && !may_miss); i += WALK_BLOCK) {
        const uint32_t n = n_rows - i < WALK_BLOCK ? n_rows - i : WALK_BLOCK;
        if (n < WALK_BLOCK) memset(keys, 0, of_block * sizeof *keys);
        is_missing |= NAME(find_keys)(run, rows + i * (size_t)N_FEATURES, n, SEARCHES, keys);
        if (may_miss) copy_below(run, n, keys);
        keys += of_block;
    }
    return is_missing;
}

/* All trees of a run for a chunk of rows: a tree is loaded once for all of them. */
static void NAME(walk_chunk)(const run_t *run, uint32_t n_rows, uint32_t is_missing, const uint32_t *keys, double *out)
{
    const size_t of_block = keys_of_block(run, is_missing);
    const uint32_t mask = column_mask(run, is_missing);
    ALIGNED uint32_t item[WALK_BLOCK];
    uint32_t i, q, t;
    for (t = run->first_tree; t < run->last_tree; t++) {
        for (i = 0; i < n_rows; i += WALK_BLOCK) {
            const uint32_t *block = keys + i / WALK_BLOCK * of_block;
            const uint32_t n = n_rows - i < WALK_BLOCK ? n_rows - i : WALK_BLOCK;
            if (N_LEVELS[t]) {
                const record_t *tree = (is_missing ? COMPLETE : COMPLETE_WHOLE) + COMPLETE_START[t];
                LEVEL_NAME(descend_block)(tree, N_LEVELS[t], block, item);
            } else LEVEL_NAME(walk_block)(t, block, mask, item);
            for (q = 0; q < n; q++) add_values(t, item[q], out + (i + q) * (size_t)N_OUTPUTS);
        }
    }
}

/* As many rows at once as have room for their keys: fewer where values are missing. */
APART void NAME(walk_many)(const run_t *run, const ROW *rows, size_t n_rows, double *out)
{
    ALIGNED uint32_t keys[MOST_KEYS];
    uint32_t n, is_missing;
    for (; n_rows > 0; n_rows -= n) {
        n = rows_of_chunk(run, n_rows, 0);
        is_missing = NAME(find_keys_of_chunk)(run, rows, n, 0, keys);
        if (is_missing && run->second) {
            n = rows_of_chunk(run, n_rows, 1);
            NAME(find_keys_of_chunk)(run, rows, n, 1, keys);
        }
        NAME(walk_chunk)(run, n, is_missing && run->second, keys, out);
        rows += n * (size_t)N_FEATURES;
        out += n * (size_t)N_OUTPUTS;
    }
}
#endif

#if HAS_HEAPS
#include "heap_rows.h"
#endif

/* -- bit vectors: all splits of a tree, for a block of rows ------------------------------------------------------- */

#if HAS_BITS
/* Write the ranks of a group of at most GROUP rows, from row i of the block on, to the columns of a run; less 128, in 8 bits. */
INLINE void NAME(rank_group)(const run_t *run, const ROW *rows, uint32_t n_rows, int8_t *ranks)
{
    const pair_t *pair = PAIRS + run->first_pair, *last = pair + run->n_pairs;
    uint32_t i, q, rank[SEARCHES];
    VALUE x[SEARCHES];
    for (; pair < last; pair++) {
        int8_t *above = ranks + (size_t)pair->above * BLOCK, *below = ranks + (size_t)pair->below * BLOCK;
        for (i = 0; i < n_rows; i += SEARCHES) {
            NAME(read_column)(rows, i, n_rows, pair->feature, SEARCHES, x);
            LEVEL_NAME(find_ranks)(pair, x, SEARCHES, rank);
            for (q = 0; q < SEARCHES; q++) above[i + q] = (int8_t)(rank[q] - 128);
            if (!LEVEL_NAME(is_any_missing)(x, SEARCHES)) continue;
            for (q = 0; q < SEARCHES; q++) above[i + q] = x[q] != x[q] ? 127 : above[i + q];
        }
        for (i = 0; pair->below && i < n_rows; i++) below[i] = above[i] == 127 ? -128 : above[i];
    }
}

/* The trees of a run for at most BLOCK rows. */
APART void NAME(try_block)(const run_t *run, const ROW *rows, uint32_t n_rows, double *out)
{
    ALIGNED int8_t ranks[MOST_COLUMNS * BLOCK];
    ALIGNED uint8_t places[CHUNK * BLOCK];
    uint32_t first, t, i;
#ifdef SUMS_APART
    ALIGNED SUM sums[N_OUTPUTS * BLOCK];
    uint32_t k;
    for (i = 0; i < n_rows; i++) {
        for (k = 0; k < N_OUTPUTS; k++) sums[k * BLOCK + i] = *slot(out + i * N_OUTPUTS + k);
    }
#else
    double *sums = out;
#endif
    if (n_rows < BLOCK) memset(ranks, 0, sizeof ranks);
    for (i = 0; i < n_rows; i += GROUP) {
        NAME(rank_group)(run, rows + i * (size_t)N_FEATURES, n_rows - i < GROUP ? n_rows - i : GROUP, ranks + i);
    }
    for (first = run->first_tree; first < run->last_tree; first += CHUNK) {
        const uint32_t n = run->last_tree - first < CHUNK ? run->last_tree - first : CHUNK;
        for (t = 0; t < n; t++) {
            if (n_rows > FEW) LEVEL_NAME(find_places)(first + t, ranks, places + t * BLOCK);
            else LEVEL_NAME(find_few_places)(first + t, ranks, places + t * BLOCK);
        }
        LEVEL_NAME(add_leaves)(first, n, n_rows, places, sums);
    }
#ifdef SUMS_APART
    for (i = 0; i < n_rows; i++) {
        for (k = 0; k < N_OUTPUTS; k++) *slot(out + i * N_OUTPUTS + k) = sums[k * BLOCK + i];
    }
#endif
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
#endif
#if HAS_HEAPS
    if (run->is_heaps) {
        if (n_rows < FEWEST_WALKED) NAME(walk_few_heaps)(run, rows, (uint32_t)n_rows, out);
        else NAME(walk_many_heaps)(run, rows, n_rows, out);
        return;
    }
#endif
#if HAS_PACKED
    if (run->is_packed) {
        if (n_rows < FEWEST_WALKED) NAME(walk_few)(run, rows, n_rows, out);
        else NAME(walk_many)(run, rows, n_rows, out);
        return;
    }
#endif
#if HAS_PLAIN
    NAME(walk_plain)(run, rows, n_rows, out);
#endif
}

/* Write the margins of some rows. */
static void NAME(margins)(const ROW *rows, size_t n_rows, double *out)
{
    size_t i, k;
    uint32_t r;
    for (i = 0; i < n_rows; i++) {
        for (k = 0; k < N_OUTPUTS; k++) *slot(out + i * N_OUTPUTS + k) = BIAS_LAST ? 0 : BIAS[k];
    }
    for (r = 0; r < N_RUNS; r++) NAME(add_run)(RUNS + r, rows, n_rows, out);
    for (i = 0; i < n_rows; i++) {
        for (k = 0; k < N_OUTPUTS; k++) finish(out + i * N_OUTPUTS + k, k);
    }
}

/* Sums of leaves over trees, for many rows. tables.h defines VALUE and SUM (float or double), the numbers N_...,
 * WIDTH, DIVISOR and the tables. Sums are in tree order and in the type SUM, as in Forest.margin: no -ffast-math. */
#include <stddef.h>
#include <stdint.h>
#include "tables.h"

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

enum { LANES = 8, BLOCK = 1024, NAN_LEFT_BIT = 24, SET_BIT = 25 };

/* The node after node j, for one row. A leaf's test always fails, and a leaf is its own right child. */
static inline int32_t next_node(int32_t j, const VALUE *row)
{
    const node_t node = NODES[j];
    const VALUE x = row[node.test & ((1 << NAN_LEFT_BIT) - 1)];
    int32_t left = x <= node.threshold;
#if N_SETS
    if (node.test >> SET_BIT & 1) {
        const int32_t s = ITEM[j];
        const int64_t n_codes = 32 * ((int64_t)SET_START[s + 1] - SET_START[s]);
        left = 0;
        if (x < (VALUE)n_codes && IS_CODE(x, n_codes)) {
            const int64_t code = (int64_t)x;
            left = (int32_t)(SET_WORDS[SET_START[s] + (code >> 5)] >> (code & 31) & 1);
        }
    }
#endif
    left |= (x != x) & (node.test >> NAN_LEFT_BIT & 1);
    return node.right + left * (j + 1 - node.right); /* without a branch: rows differ, it would be guessed wrong */
}

/* A tree walked by n rows at once (LANES of them, but for the last ones): their loads don't wait for each other. */
static inline void find_leaves(const VALUE *rows, int32_t n, int32_t root, int32_t *at)
{
    int32_t moved = 1, q;
    for (q = 0; q < n; q++) at[q] = root;
    while (moved) {
        moved = 0;
        for (q = 0; q < n; q++) {
            const int32_t after = next_node(at[q], rows + (size_t)q * N_FEATURES);
            moved |= after ^ at[q];
            at[q] = after;
        }
    }
}

static void add_leaf(int32_t tree, int32_t leaf, double *out)
{
    const SUM *values = LEAF_VALUES + (size_t)ITEM[leaf] * WIDTH;
    const int32_t output = TREE_OUTPUT[tree];
    int32_t k;
    if (output >= 0) {
        out[output] = (double)((SUM)out[output] + values[0]);
    } else {
        for (k = 0; k < WIDTH; k++) out[k] = (double)((SUM)out[k] + values[k]);
    }
}

EXPORT int32_t ec_abi_version(void) { return 1; }
EXPORT int32_t ec_n_features(void) { return N_FEATURES; }
EXPORT int32_t ec_n_outputs(void) { return N_OUTPUTS; }
EXPORT int32_t ec_n_trees(void) { return N_TREES; }
/* 4: predict_margin reads floats; 8: doubles. */
EXPORT int32_t ec_input_bytes(void) { return (int32_t)sizeof(VALUE); }
/* 4: the margins are floats, written as doubles; 8: they are doubles. */
EXPORT int32_t ec_margin_bytes(void) { return (int32_t)sizeof(SUM); }
/* Whether the model has a rule for NaN. */
EXPORT int32_t ec_handles_nan(void) { return HANDLES_NAN; }

/* Write the margins of n_rows rows of N_FEATURES numbers to out, N_OUTPUTS a row. May run in several threads. */
EXPORT void predict_margin(const void *input, size_t n_rows, double *out)
{
    static const VALUE nothing[LANES] = {0};
    const VALUE *rows = N_FEATURES ? (const VALUE *)input : nothing;
    int32_t at[LANES];
    size_t first, i, q;
    int32_t t, k;
    for (i = 0; i < n_rows; i++) {
        for (k = 0; k < N_OUTPUTS; k++) out[i * N_OUTPUTS + (size_t)k] = BIAS_LAST ? 0.0 : (double)BIAS[k];
    }
    for (first = 0; first < n_rows; first += BLOCK) {
        const size_t last = n_rows - first > BLOCK ? first + BLOCK : n_rows;
        for (t = 0; t < N_TREES; t++) {
            for (i = first; i + LANES <= last; i += LANES) {
                find_leaves(rows + i * N_FEATURES, LANES, TREE_START[t], at);
                for (q = 0; q < LANES; q++) add_leaf(t, at[q], out + (i + q) * N_OUTPUTS);
            }
            for (; i < last; i++) {
                find_leaves(rows + i * N_FEATURES, 1, TREE_START[t], at);
                add_leaf(t, at[0], out + i * N_OUTPUTS);
            }
        }
    }
    for (i = 0; i < n_rows * N_OUTPUTS; i++) {
        const SUM sum = BIAS_LAST ? (SUM)((SUM)out[i] + BIAS[i % N_OUTPUTS]) : (SUM)out[i];
        out[i] = (double)(sum / (SUM)DIVISOR);
    }
}

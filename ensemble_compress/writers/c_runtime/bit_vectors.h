/* Bit vectors: all splits of a tree, for a block of rows whose ranks are known, by vectors of VECTOR_BYTES. Included once for
 * each length of vectors: NAME(x) makes a name of its own. engines/bitvector.py tells how it works. */

typedef uint16_t NAME(vector) __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef int16_t NAME(signed_vector) __attribute__((vector_size(VECTOR_BYTES), may_alias));

/* Write the place of each row's leaf in a tree: 16 * its word + a hash of its bit. The first n_vectors of the block. */
INLINE void NAME(find_some_places)(uint32_t tree, const int16_t *ranks, const uint32_t n_vectors, int16_t *places)
{
    const uint32_t first_word = WORD_START[tree];
    const NAME(vector) zero = {0};
    NAME(vector) bits[BLOCK * 2 / VECTOR_BYTES], place[BLOCK * 2 / VECTOR_BYTES];
    uint32_t w, j, v;
    for (w = WORD_START[tree + 1]; w-- > first_word;) {
        const uint32_t stop = TEST_START[w + 1];
        const uint16_t word = (uint16_t)(16 * (w - first_word));
        for (v = 0; v < n_vectors; v++) bits[v] = ~zero;
        for (j = TEST_START[w]; j < stop; j++) {
            const test_t test = TESTS[j];
            const NAME(signed_vector) *rank = (const NAME(signed_vector) *)(ranks + test.column * (size_t)BLOCK);
            const NAME(signed_vector) above = (NAME(signed_vector))zero + test.above;
            const NAME(vector) mask = zero + test.mask;
            for (v = 0; v < n_vectors; v++) bits[v] &= (NAME(vector))(above > rank[v]) | mask;
        }
        for (v = 0; v < n_vectors; v++) {
            /* The product of a power of two and a de Bruijn sequence has other highest bits for each power. */
            const NAME(vector) hash = ((bits[v] & -bits[v]) * (zero + (uint16_t)0x09af)) >> 12;
            const NAME(vector) found = hash + word, is_none = (NAME(vector))(bits[v] == zero);
            if (w + 1 == WORD_START[tree + 1]) place[v] = found;
            else place[v] = (place[v] & is_none) | (found & ~is_none);
        }
    }
    for (v = 0; v < n_vectors; v++) ((NAME(vector) *)places)[v] = place[v];
}

static void NAME(find_places)(uint32_t tree, const int16_t *ranks, int16_t *places)
{
    NAME(find_some_places)(tree, ranks, 2 * BLOCK / VECTOR_BYTES, places);
}

/* For the first half of the block only. */
static void NAME(find_half)(uint32_t tree, const int16_t *ranks, int16_t *places)
{
    NAME(find_some_places)(tree, ranks, BLOCK / VECTOR_BYTES, places);
}

#if N_OUTPUTS == 1
/* Add the leaves of some trees to the sums, eight rows at once: the sums stay in registers. */
static void NAME(add_leaves)(uint32_t first, uint32_t n, uint32_t n_rows, const int16_t *places, double *out)
{
    SUM sum[LANES];
    uint32_t i, q, t;
    for (i = 0; i < n_rows; i += LANES) {
        for (q = 0; q < LANES; q++) sum[q] = i + q < n_rows ? *slot(out + i + q) : 0;
        for (t = 0; t < n; t++) {
            const SUM *values = PLACE_VALUES + 16 * (size_t)WORD_START[first + t];
            for (q = 0; q < LANES; q++) sum[q] += values[places[t * BLOCK + i + q]];
        }
        for (q = 0; q < LANES && i + q < n_rows; q++) *slot(out + i + q) = sum[q];
    }
}
#elif WIDTH == 1
/* Each tree adds to one output only: the rows' sums of an output lie side by side while trees are added. */
static void NAME(add_leaves)(uint32_t first, uint32_t n, uint32_t n_rows, const int16_t *places, double *out)
{
    uint32_t i, t;
    for (t = 0; t < n; t++) {
        const SUM *values = PLACE_VALUES + 16 * (size_t)WORD_START[first + t];
        double *of_output = out + TREE_OUTPUT[first + t];
        for (i = 0; i < n_rows; i++) *slot(of_output + i * (size_t)N_OUTPUTS) += values[places[t * BLOCK + i]];
    }
}
#else
static void NAME(add_leaves)(uint32_t first, uint32_t n, uint32_t n_rows, const int16_t *places, double *out)
{
    uint32_t i, t;
    for (i = 0; i < n_rows; i++) {
        for (t = 0; t < n; t++) {
            const size_t place = 16 * (size_t)WORD_START[first + t] + (size_t)places[t * BLOCK + i];
            add_values(first + t, PLACE_ITEMS[place], out + i * (size_t)N_OUTPUTS);
        }
    }
}
#endif

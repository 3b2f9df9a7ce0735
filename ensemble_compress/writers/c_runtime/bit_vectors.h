/* Bit vectors: all splits of a tree, for a block of rows whose ranks are known, by vectors of VECTOR_BYTES. Included once for
 * each length of vectors: NAME(x) makes a name of its own. engines/bitvector.py tells how it works. */

typedef uint8_t NAME(vector) __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef int8_t NAME(signed_vector) __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef uint32_t NAME(quads) __attribute__((vector_size(VECTOR_BYTES), may_alias));

/* Four bytes in all lanes: one load, where a byte alone takes a load and a shuffle. */
INLINE NAME(vector) NAME(splat)(uint32_t quad)
{
    const NAME(quads) zero = {0};
    return (NAME(vector))(zero + quad);
}

/* The number of the lowest bit of each byte, none of which is zero. */
INLINE NAME(vector) NAME(lowest_bit)(NAME(vector) bits)
{
    const NAME(vector) zero = {0}, lowest = bits & -bits;
    const NAME(vector) one = (NAME(vector))((lowest & NAME(splat)(0xaaaaaaaau)) != zero) & NAME(splat)(0x01010101u);
    const NAME(vector) two = (NAME(vector))((lowest & NAME(splat)(0xccccccccu)) != zero) & NAME(splat)(0x02020202u);
    const NAME(vector) four = (NAME(vector))((lowest & NAME(splat)(0xf0f0f0f0u)) != zero) & NAME(splat)(0x04040404u);
    return one | two | four;
}

/* The leaves of n_vectors of rows in an oblivious tree, which is one test a level: numbers of one bit each. */
INLINE void NAME(find_oblivious_places)(uint32_t tree, const int8_t *ranks, const uint32_t n_vectors, uint8_t *places)
{
    const uint32_t start = TEST_START[WORD_START[tree]], stop = start + (uint32_t)LEVELS[tree];
    const NAME(vector) zero = {0};
    NAME(vector) number[TILE];
    uint32_t j, v;
    for (v = 0; v < n_vectors; v++) number[v] = zero;
    for (j = start; j < stop; j++) {
        const test_t *test = TESTS + j;
        const NAME(signed_vector) *rank = (const NAME(signed_vector) *)(ranks + test->at);
        const NAME(signed_vector) above = (NAME(signed_vector))NAME(splat)(test->above);
        const NAME(vector) bit = NAME(splat)(test->mask);
        for (v = 0; v < n_vectors; v++) number[v] |= ~(NAME(vector))(above > rank[v]) & bit;
    }
    for (v = 0; v < n_vectors; v++) ((NAME(vector) *)places)[v] = number[v];
}

/* Write the place of each row's leaf in a tree, for n_vectors of rows. */
INLINE void NAME(find_some_places)(uint32_t tree, const int8_t *ranks, const uint32_t n_vectors, uint8_t *places)
{
    const uint32_t first_word = WORD_START[tree];
    const NAME(vector) zero = {0};
    NAME(vector) kept[TILE], word[TILE], bits[TILE];
    uint32_t w, j, v;
    if (LEVELS[tree]) {
        NAME(find_oblivious_places)(tree, ranks, n_vectors, places);
        return;
    }
    for (v = 0; v < n_vectors; v++) kept[v] = word[v] = zero;
    for (w = WORD_START[tree + 1]; w-- > first_word;) {
        const uint32_t stop = TEST_START[w + 1];
        const NAME(vector) number = NAME(splat)(8 * 0x01010101u * (w - first_word));
        for (v = 0; v < n_vectors; v++) bits[v] = ~zero;
        for (j = TEST_START[w]; j < stop; j++) {
            const test_t *test = TESTS + j;
            const NAME(signed_vector) *rank = (const NAME(signed_vector) *)(ranks + test->at);
            const NAME(signed_vector) above = (NAME(signed_vector))NAME(splat)(test->above);
            const NAME(vector) mask = NAME(splat)(test->mask);
            for (v = 0; v < n_vectors; v++) bits[v] &= (NAME(vector))(above > rank[v]) | mask;
        }
        for (v = 0; v < n_vectors; v++) {
            const NAME(vector) is_none = (NAME(vector))(bits[v] == zero);
            kept[v] = bits[v] | (kept[v] & is_none);
            word[v] = (word[v] & is_none) | (number & ~is_none);
        }
    }
    for (v = 0; v < n_vectors; v++) ((NAME(vector) *)places)[v] = word[v] + NAME(lowest_bit)(kept[v]);
}

/* For a whole block, as many rows at once as have room in registers. */
static void NAME(find_places)(uint32_t tree, const int8_t *ranks, uint8_t *places)
{
    enum { N = BLOCK / VECTOR_BYTES < TILE ? BLOCK / VECTOR_BYTES : TILE };
    uint32_t i;
    for (i = 0; i < BLOCK; i += N * VECTOR_BYTES) NAME(find_some_places)(tree, ranks + i, N, places + i);
}

/* For the first rows of a block only. */
static void NAME(find_few_places)(uint32_t tree, const int8_t *ranks, uint8_t *places)
{
    NAME(find_some_places)(tree, ranks, FEW / VECTOR_BYTES, places);
}

#if WIDTH == 1
/* Add the leaves of n trees that add to the same output to the sums of n_rows <= LANES rows: the sums stay in registers. */
INLINE void NAME(add_to_output)(const uint32_t *trees, uint32_t n, uint32_t first, const uint32_t n_rows, const uint8_t *places, double *out)
{
    SUM sum[LANES] = {0};
    uint32_t q, t;
    for (q = 0; q < n_rows; q++) sum[q] = *slot(out + q * (size_t)N_OUTPUTS);
    for (t = 0; t < n; t++) {
        const SUM *values = PLACE_VALUES + 8 * (size_t)WORD_START[trees[t]];
        uint64_t eight; /* places in one load: the loads of a core are what limits this loop */
        memcpy(&eight, places + (trees[t] - first) * BLOCK, sizeof eight);
        __asm__("" : "+r"(values)); /* or it is put together anew for each of them */
        for (q = 0; q < LANES; q++) sum[q] += values[eight >> 8 * q & 255];
    }
    for (q = 0; q < n_rows; q++) *slot(out + q * (size_t)N_OUTPUTS) = sum[q];
}

/* Add the leaves of n trees, one output after the other: the order of those that add to the same one is kept. */
static void NAME(add_leaves)(uint32_t first, uint32_t n, uint32_t n_rows, const uint8_t *places, double *out)
{
    uint32_t trees[CHUNK], t, u, m, i;
    uint8_t is_done[CHUNK] = {0};
    double *of_output;
    for (t = 0; t < n; t++) {
        if (is_done[t]) continue;
        for (m = 0, u = first + t; u < first + n; u = NEXT_OF_OUTPUT[u]) {
            trees[m++] = u;
            is_done[u - first] = 1;
        }
        of_output = out + (N_OUTPUTS > 1 ? TREE_OUTPUT[first + t] : 0);
        for (i = 0; i + LANES <= n_rows; i += LANES) {
            NAME(add_to_output)(trees, m, first, LANES, places + i, of_output + i * (size_t)N_OUTPUTS);
        }
        if (i < n_rows) NAME(add_to_output)(trees, m, first, n_rows - i, places + i, of_output + i * (size_t)N_OUTPUTS);
    }
}
#else
static void NAME(add_leaves)(uint32_t first, uint32_t n, uint32_t n_rows, const uint8_t *places, double *out)
{
    uint32_t i, t;
    for (i = 0; i < n_rows; i++) {
        for (t = 0; t < n; t++) {
            const size_t place = 8 * (size_t)WORD_START[first + t] + places[t * BLOCK + i];
            add_values(first + t, PLACE_ITEMS[place], out + i * (size_t)N_OUTPUTS);
        }
    }
}
#endif

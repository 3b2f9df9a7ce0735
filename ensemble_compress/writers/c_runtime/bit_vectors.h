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
#if defined(__x86_64__) && VECTOR_BYTES == 32
#define SHUFFLE(table, v) ((NAME(vector))__builtin_ia32_pshufb256((NAME(bytes))(table), (NAME(bytes))(v)))
#define CHOOSE(is_left, left, right) ((NAME(vector))__builtin_ia32_pblendvb256((NAME(bytes))(right), (NAME(bytes))(left), (NAME(bytes))(is_left)))
typedef char NAME(bytes) __attribute__((vector_size(VECTOR_BYTES)));

/* Both halves of a byte are looked up; the lower one has the highest bit where it is zero, and the upper one counts. */
INLINE NAME(vector) NAME(lowest_bit)(NAME(vector) bits)
{
    const NAME(vector) low = {128, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0, 128, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0};
    const NAME(vector) high = {0, 4, 5, 4, 6, 4, 5, 4, 7, 4, 5, 4, 6, 4, 5, 4, 0, 4, 5, 4, 6, 4, 5, 4, 7, 4, 5, 4, 6, 4, 5, 4};
    const NAME(vector) half = NAME(splat)(0x0f0f0f0fu), upper = (NAME(vector))((NAME(quads))bits >> 4) & half;
    const NAME(vector) a = SHUFFLE(low, bits & half), b = SHUFFLE(high, upper);
    return CHOOSE(a, b, a);
}
#undef SHUFFLE
#else
#define CHOOSE(is_left, left, right) (((left) & (is_left)) | ((right) & ~(is_left)))
INLINE NAME(vector) NAME(lowest_bit)(NAME(vector) bits)
{
    const NAME(vector) zero = {0}, lowest = bits & -bits;
    const NAME(vector) one = (NAME(vector))((lowest & NAME(splat)(0xaaaaaaaau)) != zero) & NAME(splat)(0x01010101u);
    const NAME(vector) two = (NAME(vector))((lowest & NAME(splat)(0xccccccccu)) != zero) & NAME(splat)(0x02020202u);
    const NAME(vector) four = (NAME(vector))((lowest & NAME(splat)(0xf0f0f0f0u)) != zero) & NAME(splat)(0x04040404u);
    return one | two | four;
}
#endif

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
            word[v] = CHOOSE(is_none, word[v], number);
        }
    }
    for (v = 0; v < n_vectors; v++) ((NAME(vector) *)places)[v] = word[v] + NAME(lowest_bit)(kept[v]);
}

#undef CHOOSE

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
INLINE void NAME(add_to_output)(const added_t *trees, uint32_t n, const uint32_t n_rows, size_t first, sums_t *out)
{
    SUM sum[LANES] = {0};
    uint32_t q, t;
    for (q = 0; q < n_rows; q++) sum[q] = *as_sum(of_row(out, q));
    for (t = 0; t < n; t++) {
        const SUM *values = trees[t].values;
        uint64_t eight; /* places in one load: the loads of a core are what limits this loop */
        memcpy(&eight, trees[t].places + first, sizeof eight);
        for (q = 0; q < LANES; q += 2, eight >>= 16) {
            hold(eight);
            sum[q] += values[(uint8_t)eight];
            sum[q + 1] += values[(uint8_t)(eight >> 8)];
        }
    }
    for (q = 0; q < n_rows; q++) *as_sum(of_row(out, q)) = sum[q];
}

/* Add the leaves of n trees, one output after the other: the order of those that add to the same one is kept. */
static void NAME(add_leaves)(uint32_t first, uint32_t n, uint32_t n_rows, const uint8_t *places, sums_t *out)
{
    added_t trees[CHUNK];
    uint32_t t, u, m, i;
    uint8_t is_done[CHUNK] = {0};
    for (t = 0; t < n; t++) {
        sums_t *of_output = of_column(out, N_OUTPUTS > 1 ? TREE_OUTPUT[first + t] : 0);
        if (is_done[t]) continue;
        for (m = 0, u = first + t; u < first + n; u = NEXT_OF_OUTPUT[u], m++) {
            trees[m].values = PLACE_VALUES + 8 * (size_t)WORD_START[u];
            trees[m].places = places + (u - first) * BLOCK;
            is_done[u - first] = 1;
        }
        for (i = 0; i + LANES <= n_rows; i += LANES) NAME(add_to_output)(trees, m, LANES, i, of_row(of_output, i));
        if (i < n_rows) NAME(add_to_output)(trees, m, n_rows - i, i, of_row(of_output, i));
    }
}
#else
static void NAME(add_leaves)(uint32_t first, uint32_t n, uint32_t n_rows, const uint8_t *places, sums_t *out)
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

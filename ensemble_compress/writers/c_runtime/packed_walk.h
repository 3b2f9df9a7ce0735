/* The packed walk, for a block of rows whose keys are known, with vectors of VECTOR_BYTES. Included once for each length of
 * vectors: NAME(x) makes a name of its own. engines/packed_layout.py, packed_walk.py and steps.py tell how it works. */

typedef uint32_t NAME(words) __attribute__((vector_size(VECTOR_BYTES), may_alias));

/* The place after this one, for a row's keys. A leaf is its own left child and reads a key of zero: it never moves on. */
INLINE uint64_t NAME(step)(const record_t *tree, uint64_t place, const uint32_t *keys, uint64_t mask, uint32_t shift)
{
    const record_t node = tree[place];
    const uint64_t upper = node >> 32;
    return (upper >> shift) + ((uint32_t)node < keys[upper & mask]);
}

/* Go down from the places of WALK_LANES lanes until none moves; lane q walks tree[q * of_tree] with the keys behind
 * keys + q * of_row. */
INLINE void NAME(walk)(const record_t *const *trees, uint32_t of_tree, const uint32_t *keys, uint32_t of_row, uint64_t mask, uint32_t shift, uint64_t *places)
{
    uint64_t place[WALK_LANES], moved;
    uint32_t q;
    for (q = 0; q < WALK_LANES; q++) place[q] = places[q];
    do {
        moved = 0;
        for (q = 0; q < WALK_LANES; q++) place[q] = NAME(step)(trees[q * of_tree], place[q], keys + q * of_row, mask, shift);
        for (q = 0; q < WALK_LANES; q++) {
            const uint64_t next = NAME(step)(trees[q * of_tree], place[q], keys + q * of_row, mask, shift);
            moved += next - place[q];
            place[q] = next;
        }
    } while (moved);
    for (q = 0; q < WALK_LANES; q++) places[q] = place[q];
}

/* Try the uppermost splits of a tree on a block of rows: each row's lowest bit that is left says where its walk begins. */
INLINE void NAME(find_entries)(uint32_t tree, const uint32_t *keys, uint32_t mask, uint32_t *left)
{
    enum { N = WALK_BLOCK * 4 / VECTOR_BYTES };
    const NAME(words) zero = {0};
    NAME(words) bits[N];
    uint32_t j, v;
    for (v = 0; v < N; v++) bits[v] = ~zero;
    for (j = UPPER_START[tree]; j < UPPER_START[tree + 1]; j++) {
        const upper_t test = UPPER[j];
        const NAME(words) *x = (const NAME(words) *)(keys + (test.at & mask));
        const NAME(words) key = zero + test.key, kept = zero + test.mask;
        for (v = 0; v < N; v++) bits[v] &= (NAME(words))(key >= x[v]) | kept;
    }
    for (v = 0; v < N; v++) ((NAME(words) *)left)[v] = bits[v];
}

/* Write the rows of values of a block's leaves in a tree. */
static void NAME(walk_block)(uint32_t tree, const uint32_t *keys, uint32_t mask, uint32_t shift, uint32_t *item)
{
    const record_t *first = RECORDS + TREE_START[tree];
    const uint32_t *entries = ENTRIES + tree * (size_t)N_ENTRIES;
    ALIGNED uint32_t left[WALK_BLOCK];
    uint64_t places[WALK_LANES];
    uint32_t i, q;
    NAME(find_entries)(tree, keys, mask, left);
    for (i = 0; i < WALK_BLOCK; i += WALK_LANES) {
        for (q = 0; q < WALK_LANES; q++) places[q] = entries[__builtin_ctz(left[i + q])];
        NAME(walk)(&first, 0, keys + i, 1, mask, shift, places);
        for (q = 0; q < WALK_LANES; q++) item[i + q] = (uint32_t)first[places[q]];
    }
}

/* The same in a complete tree: the children of place i are 2 i + 1 and 2 i + 2, and a row takes as many steps as it has levels. */
static void NAME(descend_block)(const record_t *tree, uint32_t n_levels, const uint32_t *keys, uint32_t *item)
{
    const uint32_t *halves = (const uint32_t *)(const void *)tree;
    uint32_t i, q, level;
    for (i = 0; i < WALK_BLOCK; i += COMPLETE_LANES) {
        uint64_t place[COMPLETE_LANES];
        for (q = 0; q < COMPLETE_LANES; q++) place[q] = 0;
        for (level = 0; level < n_levels; level++) {
            for (q = 0; q < COMPLETE_LANES; q++) {
                const uint64_t doubled = 2 * place[q];
                place[q] = doubled + 1 + (halves[doubled] < (keys + i + q)[halves[doubled + 1]]);
            }
        }
        for (q = 0; q < COMPLETE_LANES; q++) item[i + q] = halves[2 * place[q]];
    }
}

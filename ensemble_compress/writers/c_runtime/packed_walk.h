/* The packed walk, for a block of rows whose keys are known, with vectors of VECTOR_BYTES. Included once for each length of
 * vectors: NAME(x) makes a name of its own. engines/packed_layout.py, packed_walk.py and steps.py tell how it works. */

typedef uint32_t NAME(words) __attribute__((vector_size(VECTOR_BYTES), may_alias));

/* Go down from the places of WALK_LANES lanes until none moves; lane q walks trees[q * of_tree] with the keys behind
 * keys + q * of_row. A leaf is its own left child and reads a key of zero: it never moves on. */
INLINE void NAME(walk)(const record_t *const *trees, const uint32_t of_tree, const uint32_t *keys, const uint32_t of_row, size_t mask, size_t *places)
{
    size_t p0 = places[0], p1 = places[1], p2 = places[2], p3 = places[3], moved;
    size_t p4 = places[4], p5 = places[5], p6 = places[6], p7 = places[7];
    do {
#define STEP(q) p##q = next_place(trees[q * of_tree], p##q, keys, q * of_row, mask);
        EACH_LANE(STEP)
#undef STEP
        moved = 0;
#define STEP(q) { const size_t old = p##q; p##q = next_place(trees[q * of_tree], old, keys, q * of_row, mask); moved += p##q - old; }
        EACH_LANE(STEP)
#undef STEP
    } while (moved);
#define KEEP(q) places[q] = p##q;
    EACH_LANE(KEEP)
#undef KEEP
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
static void NAME(walk_block)(uint32_t tree, const uint32_t *keys, uint32_t mask, uint32_t *item)
{
    const record_t *first = RECORDS + TREE_START[tree];
    const uint32_t *entries = ENTRIES + tree * (size_t)N_ENTRIES;
    ALIGNED uint32_t left[WALK_BLOCK];
    size_t places[WALK_LANES];
    uint32_t i, q;
    NAME(find_entries)(tree, keys, mask, left);
    for (i = 0; i < WALK_BLOCK; i += WALK_LANES) {
        for (q = 0; q < WALK_LANES; q++) places[q] = entries[__builtin_ctz(left[i + q])];
        NAME(walk)(&first, 0, keys + i, 1, mask, places);
        for (q = 0; q < WALK_LANES; q++) item[i + q] = first[places[q]].key;
    }
}

/* The same in a complete tree: the children of place i are 2 i + 1 and 2 i + 2, and a row takes as many steps as it has levels. */
static void NAME(descend_block)(const record_t *tree, uint32_t n_levels, const uint32_t *keys, uint32_t *item)
{
    size_t place[COMPLETE_LANES];
    uint32_t i, q, level;
    for (i = 0; i < WALK_BLOCK; i += COMPLETE_LANES) {
        for (q = 0; q < COMPLETE_LANES; q++) place[q] = 0;
        for (level = 0; level < n_levels; level++) {
            for (q = 0; q < COMPLETE_LANES; q++) place[q] = next_in_complete(tree, place[q], keys + i, q);
        }
        for (q = 0; q < COMPLETE_LANES; q++) item[i + q] = tree[place[q]].key;
    }
}

/* The heap walk, for a block of rows whose ranks are known, with vectors of VECTOR_BYTES. Included once for each length of
 * vectors: NAME(x) makes a name of its own. engines/heap_walk.py and heap_steps.py tell how it works. */

typedef uint16_t NAME(ranks) __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef uint32_t NAME(doubled) __attribute__((vector_size(VECTOR_BYTES), may_alias));

/* -- the uppermost levels, in vectors ------------------------------------------------------------------------------- */

/* Something of all rows of a block. */
typedef struct { NAME(ranks) v[2 * WALK_BLOCK / VECTOR_BYTES]; } NAME(block);
#define EACH_VECTOR for (v = 0; v < 2 * WALK_BLOCK / VECTOR_BYTES; v++)

/* Which rows stay on a test's left: all bits of them. */
INLINE NAME(block) NAME(stays_left)(const top_t *test, const uint16_t *keys, size_t mask)
{
    const NAME(doubled) zero = {0};
    const NAME(ranks) key = (NAME(ranks))(zero + test->key), *x = (const NAME(ranks) *)(keys + (test->at & mask));
    NAME(block) found;
    uint32_t v;
    EACH_VECTOR found.v[v] = (NAME(ranks))(key >= x[v]);
    return found;
}

/* The rows' places below node j, which has so many levels below it: what a test says is made of what its children say. */
INLINE NAME(block) NAME(below_1)(const top_t *tops, uint32_t j, const uint16_t *keys, size_t mask)
{
    const NAME(ranks) zero = {0};
    NAME(block) found = NAME(stays_left)(tops + j, keys, mask);
    uint32_t v;
    EACH_VECTOR found.v[v] += zero + (uint16_t)(2 * j + 2);
    return found;
}

#if defined(__x86_64__) && VECTOR_BYTES == 32
typedef char NAME(chars) __attribute__((vector_size(VECTOR_BYTES)));
#define CHOOSE(is_left, left, right) ((NAME(ranks))__builtin_ia32_pblendvb256((NAME(chars))(right), (NAME(chars))(left), (NAME(chars))(is_left)))
#else
#define CHOOSE(is_left, left, right) (((left) & (is_left)) | ((right) & ~(is_left)))
#endif

#define BELOW_LEVEL(levels, fewer) \
INLINE NAME(block) NAME(below_##levels)(const top_t *tops, uint32_t j, const uint16_t *keys, size_t mask) \
{ \
    const NAME(block) right = NAME(below_##fewer)(tops, 2 * j + 2, keys, mask); \
    const NAME(block) left = NAME(below_##fewer)(tops, 2 * j + 1, keys, mask); \
    NAME(block) found = NAME(stays_left)(tops + j, keys, mask); \
    uint32_t v; \
    EACH_VECTOR found.v[v] = CHOOSE(found.v[v], left.v[v], right.v[v]); \
    return found; \
}
BELOW_LEVEL(2, 1)
BELOW_LEVEL(3, 2)
BELOW_LEVEL(4, 3)
BELOW_LEVEL(5, 4)
#undef BELOW_LEVEL
#undef CHOOSE
#undef EACH_VECTOR

/* -- the rest, several rows or trees together ------------------------------------------------------------------------ */

/* Go on below the heaps from the places of WALK_LANES lanes until none moves; lane q walks trees[q * of_tree] with the keys behind
 * keys + q * of_row. A leaf is its own child and reads a key of zero: it never moves on. */
INLINE void NAME(walk_below)(const below_t *const *trees, const uint32_t of_tree, const uint16_t *keys, const uint32_t of_row, size_t mask, size_t *places)
{
    size_t p0 = places[0], p1 = places[1], p2 = places[2], p3 = places[3], moved;
    size_t p4 = places[4], p5 = places[5], p6 = places[6], p7 = places[7];
    do {
#define STEP(q) go_below(trees[q * of_tree], p##q, keys, q * of_row, mask);
        EACH_LANE(STEP)
#undef STEP
        moved = 0;
#define STEP(q) { moved -= p##q; hold(moved); go_below(trees[q * of_tree], p##q, keys, q * of_row, mask); moved += p##q; hold(moved); }
        EACH_LANE(STEP)
#undef STEP
    } while (moved);
#define KEEP(q) places[q] = p##q;
    EACH_LANE(KEEP)
#undef KEEP
}

/* The same for neighbouring rows in a tree: apart, or the compiler keeps its caller's variables in the lanes' registers. */
APART void NAME(walk_rows_below)(const below_t *tree, const uint16_t *keys, size_t mask, size_t *places)
{
    NAME(walk_below)(&tree, 0, keys, 1, mask, places);
}

/* Go down WALK_LANES neighbouring rows' heap, from their starts. */
INLINE void NAME(descend)(const heap_node_t *heap, uint32_t n_steps, const uint16_t *keys, const uint16_t *starts, size_t *places)
{
    size_t p0 = starts[0], p1 = starts[1], p2 = starts[2], p3 = starts[3];
    size_t p4 = starts[4], p5 = starts[5], p6 = starts[6], p7 = starts[7];
    for (; n_steps > 0; n_steps--) {
#define STEP(q) go_down(heap, p##q, keys, q);
        EACH_LANE(STEP)
#undef STEP
    }
#define KEEP(q) places[q] = p##q;
    EACH_LANE(KEEP)
#undef KEEP
}

/* Write the rows of values of a block's leaves in a tree, numbered in the tree. */
static void NAME(find_rows)(uint32_t tree, const heap_node_t *nodes, const uint16_t *keys, size_t mask, uint32_t *found)
{
    const heap_t *of = HEAPS + tree;
    const heap_node_t *heap = nodes + of->heap;
    const below_t *records = HEAP_RECORDS + of->record;
    const uint32_t n_steps = of->depth - UPPER_LEVELS, is_deep = of->is_deep;
    /* The last level's first place has a number of its own; what is counted from it begins here. */
    const size_t end = (size_t)of->end - (((size_t)1 << of->depth) - 1);
    ALIGNED uint16_t starts[WALK_BLOCK];
    size_t places[WALK_LANES];
    uint32_t i, q;
    *(NAME(block) *)(void *)starts = NAME(below_5)(TOPS + of->top, 0, keys, mask);
    for (i = 0; i < WALK_BLOCK; i += WALK_LANES) {
        NAME(descend)(heap, n_steps, keys + i, starts + i, places);
        if (is_deep) {
            for (q = 0; q < WALK_LANES; q++) places[q] = BELOW[end + places[q]];
            NAME(walk_rows_below)(records, keys + i, mask, places);
            for (q = 0; q < WALK_LANES; q++) found[i + q] = records[places[q]].key;
        } else {
            for (q = 0; q < WALK_LANES; q++) found[i + q] = END_ROWS[end + places[q]];
        }
    }
}

/* Write a row's rows of values in WALK_LANES trees, of which the last ones may be one and the same, numbered in all trees. */
static void NAME(find_rows_of_trees)(const heap_t *const *trees, const heap_node_t *nodes, const uint16_t *keys, size_t mask, size_t *found)
{
    const heap_node_t *heaps[WALK_LANES];
    const below_t *records[WALK_LANES], *deep = HEAP_RECORDS;
    size_t places[WALK_LANES] = {0}, end;
    uint32_t q, level, least = trees[0]->depth, is_deep = 0;
    for (q = 0; q < WALK_LANES; q++) heaps[q] = nodes + trees[q]->heap;
    for (q = 1; q < WALK_LANES; q++) least = trees[q]->depth < least ? trees[q]->depth : least;
    for (level = 0; level < least; level++) {
#define STEP(q) go_down(heaps[q], places[q], keys, 0);
        EACH_LANE(STEP)
#undef STEP
    }
    for (q = 0; q < WALK_LANES; q++) {
        for (level = least; level < trees[q]->depth; level++) go_down(heaps[q], places[q], keys, 0);
        end = trees[q]->end + places[q] + 1 - ((size_t)1 << trees[q]->depth);
        if (trees[q]->is_deep) {
            is_deep = 1;
            deep = HEAP_RECORDS + trees[q]->record;
            places[q] = BELOW[end];
        } else {
            found[q] = trees[q]->value + (size_t)END_ROWS[end];
            places[q] = 0;
        }
    }
    if (!is_deep) return;
    /* What is not deep walks a tree that is, for nothing. */
    for (q = 0; q < WALK_LANES; q++) records[q] = trees[q]->is_deep ? HEAP_RECORDS + trees[q]->record : deep;
    NAME(walk_below)(records, 1, keys, 0, mask, places);
    for (q = 0; q < WALK_LANES; q++) {
        if (trees[q]->is_deep) found[q] = trees[q]->value + (size_t)records[q][places[q]].key;
    }
}

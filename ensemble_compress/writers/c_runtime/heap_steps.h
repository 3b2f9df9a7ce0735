/* What the heap walk does with one node or one key, whatever the rows' type and the vectors' length. Included once by
 * shared_library.c. engines/heap_layout.py tells what the tables hold. */

typedef struct { uint16_t key, at; } heap_node_t;             /* its children lie at 2 i + 1 and 2 i + 2 */
typedef struct { uint32_t key, at; } top_t;                   /* the key twice: one load brings it to all lanes of a vector */
typedef struct { uint16_t key, at; uint32_t child; } below_t; /* a node below a heap */

/* Where a tree's parts begin: its tests in TOPS, its heap, in BELOW (where it is deep) or END_ROWS what lies below, its nodes below in
 * HEAP_RECORDS, its values. Behind the last tree stands where all end. */
typedef struct { uint32_t top, heap, end, record, value, depth, is_deep; } heap_t;

enum { UPPER_LEVELS = 5, N_TOPS = (1 << UPPER_LEVELS) - 1, SEARCHED = 512, FEWEST_FETCHED = 256, LINE = 64 };

/* More keys in a chunk would no longer be in the second cache when the next tree wants them; where trees are deep, more rows make
 * up for loading those. */
enum { CHUNK_RANKS = HAS_DEEP ? 131072 : 49152, STACK_RANKS = 2 * KEYS_ON_STACK < CHUNK_RANKS ? 2 * KEYS_ON_STACK : CHUNK_RANKS };
enum { MOST_RANKS = RANKS_OF_BLOCK > STACK_RANKS ? RANKS_OF_BLOCK : STACK_RANKS };

#ifndef HEAP_NODES
#define HEAP_NODES HEAP_NODES_WHOLE
#endif

#ifdef HAS_ASSEMBLER
/* The carry of a comparison is the bit of the next place. Compilers make a branch of it, or two steps more. */
#define go_down(heap, place, keys, row) do { \
    size_t x_; \
    __asm__("movzwl 2(%[nodes],%[at],4), %k[x]\n\tmovzwl %c[lane](%[first],%q[x],2), %k[x]\n\t" \
            "cmpw %w[x], (%[nodes],%[at],4)\n\tleaq 1(%[at],%[at]), %[at]\n\tadcq $0, %[at]" \
            : [at] "+r"(place), [x] "=&r"(x_) \
            : [nodes] "r"(heap), [first] "r"(keys), [lane] "i"(2 * (row)) \
            : "cc", "memory"); \
} while (0)
#define go_below(tree, place, keys, row, mask) do { \
    size_t x_; \
    __asm__("movzwl 2(%[nodes],%[at],8), %k[x]\n\tandl %k[columns], %k[x]\n\tmovzwl %c[lane](%[first],%q[x],2), %k[x]\n\t" \
            "cmpw %w[x], (%[nodes],%[at],8)\n\tmovl 4(%[nodes],%[at],8), %k[at]\n\tadcl $0, %k[at]" \
            : [at] "+r"(place), [x] "=&r"(x_) \
            : [nodes] "r"(tree), [first] "r"(keys), [columns] "r"(mask), [lane] "i"(2 * (row)) \
            : "cc", "memory"); \
} while (0)
#else
/* Move a row's place in a heap one level down. */
#define go_down(heap, place, keys, row) do { \
    const heap_node_t node_ = (heap)[place]; \
    (place) = 2 * (place) + 1 + (node_.key < (keys)[node_.at + (row)]); \
} while (0)
/* The same below the heap. */
#define go_below(tree, place, keys, row, mask) do { \
    const below_t node_ = (tree)[place]; \
    (place) = node_.child + (size_t)(node_.key < (keys)[(node_.at & (mask)) + (row)]); \
} while (0)
#endif

/* Make the second columns of pairs, where missing values lie below all others. */
static void copy_ranks_below(const run_t *run, uint32_t n_rows, uint16_t *keys)
{
    const pair_t *pair = PAIRS + run->first_walked_pair, *last = pair + run->n_walked_pairs;
    uint32_t i;
    for (; pair < last; pair++) {
        const uint16_t *above = keys + (size_t)pair->above * WALK_BLOCK;
        uint16_t *below = keys + (size_t)pair->below * WALK_BLOCK;
        if (!pair->below) continue;
        for (i = 0; i < n_rows; i++) below[i] = above[i] == 0xffffu ? 0 : above[i];
    }
}

/* How many of the rows have room for their ranks at once. */
INLINE uint32_t heap_rows_of_chunk(const run_t *run, size_t n_rows, uint32_t is_missing)
{
    const size_t most = MOST_RANKS / keys_of_block(run, is_missing) * WALK_BLOCK;
    return (uint32_t)(n_rows < most ? n_rows : most);
}

/* What cuts a column's place out of a node's: where no value is missing, a pair's second column is its first one. */
INLINE size_t rank_mask(const run_t *run, uint32_t is_missing)
{
    return is_missing ? 0xffffu : 0xffffu & ~(run->second * WALK_BLOCK);
}

/* What is asked for of a tree before it is read, so many lines at a time: it comes from memory, and would be waited for line by line. */
typedef struct { const char *first; size_t n_bytes, n_lines; } wanted_t;
enum { N_WANTED = 3 };

INLINE wanted_t wanted_part(const void *first, size_t n_bytes, size_t n_times)
{
    const wanted_t wanted = {(const char *)first, n_bytes, n_bytes / (LINE * n_times) + 1};
    return wanted;
}

/* Of a tree's heap, of what lies below, and of its values. */
static void find_wanted(uint32_t tree, const heap_node_t *nodes, size_t n_times, wanted_t *wanted)
{
    const heap_t *of = HEAPS + tree;
    const size_t n_places = (size_t)1 << of->depth, n_values = of[1].value - of->value, n_records = of[1].record - of->record;
    wanted[0] = wanted_part(nodes + of->heap, n_places * sizeof *nodes, n_times);
    wanted[1] = of->is_deep ? wanted_part(HEAP_RECORDS + of->record, n_records * sizeof *HEAP_RECORDS, n_times)
                            : wanted_part(END_ROWS + of->end, n_places * sizeof *END_ROWS, n_times);
    wanted[2] = wanted_part(HEAP_VALUES + of->value * (size_t)WIDTH, n_values * WIDTH * sizeof(SUM), n_times);
}

/* Ask for the b-th part. */
INLINE void fetch(const wanted_t *wanted, size_t b)
{
    size_t k, at;
    for (k = 0; k < N_WANTED; k++) {
        const size_t end = (b + 1) * wanted[k].n_lines * LINE, last = end < wanted[k].n_bytes ? end : wanted[k].n_bytes;
        for (at = b * wanted[k].n_lines * LINE; at < last; at += LINE) __builtin_prefetch(wanted[k].first + at, 0, 2);
    }
}

/* What the packed walk does with one node or one key, whatever the rows' type and the vectors' length. Included once by
 * shared_library.c. */

enum { MOST_BLOCKS = 256, MOST_KEYS = KEYS_OF_BLOCK > KEYS_ON_STACK ? KEYS_OF_BLOCK : KEYS_ON_STACK };

#ifdef HAS_ASSEMBLER
/* Compilers put a step together from more instructions, and keep fewer lanes in registers than there is room for. */
#define next_place(tree, place, keys, row, mask) __extension__({ \
    size_t next_, x_; \
    __asm__("movl 4(%[nodes],%[at],8), %k[next]\n\tmovl %k[next], %k[x]\n\tandl %k[columns], %k[x]\n\t" \
            "movl %c[lane](%[first],%q[x],4), %k[x]\n\tshrl %[shift], %k[next]\n\t" \
            "cmpl %k[x], (%[nodes],%[at],8)\n\tadcl $0, %k[next]" \
            : [next] "=&r"(next_), [x] "=&r"(x_) \
            : [nodes] "r"(tree), [at] "r"(place), [first] "r"(keys), [columns] "r"(mask), [lane] "i"(4 * (row)), \
              [shift] "i"(COLUMN_BITS) \
            : "cc", "memory"); \
    next_; })
#else
/* The place after this one, for the keys of a row of a block. */
INLINE size_t next_place(const record_t *tree, size_t place, const uint32_t *keys, uint32_t row, size_t mask)
{
    const record_t node = tree[place];
    return (node.next >> COLUMN_BITS) + (node.key < keys[(node.next & mask) + row]);
}
#endif

/* The place after this one in a complete tree. */
INLINE size_t next_in_complete(const record_t *tree, size_t place, const uint32_t *keys, uint32_t row)
{
    const record_t node = tree[place];
    const uint32_t *key = keys + (size_t)node.next + row;
    size_t next = 2 * place + 1;
#ifdef HAS_ASSEMBLER
    __asm__("cmpl %2, %1\n\tadc $0, %0" : "+r"(next) : "r"(node.key), "m"(*key) : "cc");
#else
    next += node.key < *key;
#endif
    return next;
}

#if KEYS_ARE_BITS
/* The bits of a float, the sign turned round, have the order of the numbers. Both zeros get one key. */
INLINE uint32_t bits_of(float x)
{
    uint32_t bits;
    x += 0.0f;
    memcpy(&bits, &x, sizeof bits);
    return bits ^ ((0u - (bits >> 31)) | 0x80000000u);
}
#endif

/* Make the second columns of pairs, where missing values lie below all others. */
static void copy_below(const run_t *run, uint32_t n_rows, uint32_t *keys)
{
    const pair_t *pair = PAIRS + run->first_walked_pair, *last = pair + run->n_walked_pairs;
    uint32_t i;
    for (; pair < last; pair++) {
        const uint32_t *above = keys + (size_t)pair->above * WALK_BLOCK;
        uint32_t *below = keys + (size_t)pair->below * WALK_BLOCK;
        if (!pair->below) continue;
        for (i = 0; i < n_rows; i++) below[i] = above[i] == 0xffffffffu ? 0 : above[i];
    }
}

/* How many of the rows have room for their keys at once. */
INLINE uint32_t rows_of_chunk(const run_t *run, size_t n_rows, uint32_t is_missing)
{
    const size_t n_blocks = MOST_KEYS / keys_of_block(run, is_missing);
    const size_t most = (n_blocks < MOST_BLOCKS ? n_blocks : MOST_BLOCKS) * WALK_BLOCK;
    return (uint32_t)(n_rows < most ? n_rows : most);
}

/* What cuts a column's place out of a node: where no value is missing, a pair's second column is its first one. */
INLINE uint32_t column_mask(const run_t *run, uint32_t is_missing)
{
    const uint32_t mask = ((uint32_t)1 << COLUMN_BITS) - 1;
    return is_missing ? mask : mask & ~(run->second * WALK_BLOCK);
}

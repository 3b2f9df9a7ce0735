/* The ranks of values, for one kind of processor: NAME(x) makes a name of its own. engines/columns.py tells how they are found. */

#ifdef HAS_ASSEMBLER
#if LEVEL > 0
#define COMPARE "vcomisd"
#else
#define COMPARE "comisd"
#endif
/* One step on in the search for a rank, if the cut that is looked at lies below x; a half is a power of two. */
#define step_on(cuts, low, half, x) do { \
    const size_t next_ = (low) + (half); \
    __asm__(COMPARE " -8(%[first],%[next],8), %[value]\n\tcmova %[next], %[at]" \
            : [at] "+r"(low) : [next] "r"(next_), [first] "r"(cuts), [value] "x"(x) : "cc"); \
} while (0)
#else
#define step_on(cuts, low, half, x) ((low) += (half) & all_bits((cuts)[(low) + (half) - 1] < (x)))
#endif

/* Write the ranks of SEARCHES values: how many of a pair's cuts lie below. A search begins in the value's bucket, and no step of one
 * waits for another's. A missing value has some rank. */
APART void NAME(search)(const pair_t *pair, const VALUE *x, uint32_t *rank)
{
    ALIGNED double value[SEARCHES], bucket[SEARCHES];
    const double *cuts = CUTS;
    const four_t zero = {0}, last = zero + (double)pair->last_bucket;
    size_t low[SEARCHES], half;
    uint32_t q;
    for (q = 0; q < SEARCHES; q++) value[q] = (double)x[q];
    for (q = 0; q < SEARCHES; q += 4) {
        const four_t found = (*(const four_t *)(value + q) - pair->origin) * pair->scale;
        const four_bits_t some = (four_bits_t)found & (four_bits_t)(found > zero); /* not a number: 0 */
        const four_bits_t is_inside = (four_bits_t)((four_t)some < last);
        *(four_bits_t *)(bucket + q) = (some & is_inside) | ((four_bits_t)last & ~is_inside);
    }
    for (q = 0; q < SEARCHES; q++) low[q] = BUCKETS[pair->first_bucket + (uint32_t)(int32_t)bucket[q]];
    for (half = (size_t)1 << pair->n_steps >> 1; half > 0; half >>= 1) {
        for (q = 0; q < SEARCHES; q++) step_on(cuts, low[q], half, value[q]);
    }
    for (q = 0; q < SEARCHES; q++) rank[q] = (uint32_t)low[q] - pair->first_cut;
}

/* The same for n values, SEARCHES or one. */
INLINE void NAME(find_ranks)(const pair_t *pair, const VALUE *x, const uint32_t n, uint32_t *rank)
{
    double bucket;
    uint32_t half, q;
#if HAS_SETS
    if (pair->set >= 0) {
        for (q = 0; q < n; q++) rank[q] = !is_in_set((uint32_t)pair->set, x[q]);
        return;
    }
#endif
    if (pair->last_bucket == 0 && pair->n_steps == 1) { /* a single cut */
        for (q = 0; q < n; q++) rank[q] = CUTS[pair->first_cut] < (double)x[q];
        return;
    }
    if (n == SEARCHES) {
        NAME(search)(pair, x, rank);
        return;
    }
    bucket = ((double)*x - pair->origin) * pair->scale;
    bucket = bucket > 0 ? bucket : 0; /* not a number: 0 */
    *rank = BUCKETS[pair->first_bucket + (uint32_t)(int32_t)(bucket < pair->last_bucket ? bucket : pair->last_bucket)];
    for (half = (uint32_t)1 << pair->n_steps >> 1; half > 0; half >>= 1) {
        *rank += half & all_bits(CUTS[*rank + half - 1] < (double)*x);
    }
    *rank -= pair->first_cut;
}

/* Whether one of n values is missing. */
INLINE uint32_t NAME(is_any_missing)(const VALUE *x, const uint32_t n)
{
    enum { TOGETHER = 16 / sizeof(VALUE) };
    typedef VALUE some_t __attribute__((vector_size(16), aligned(sizeof(VALUE)), may_alias));
    typedef uint64_t bits_t __attribute__((vector_size(16)));
    bits_t found = {0};
    uint32_t q;
    if (n < TOGETHER) return *x != *x;
    for (q = 0; q < n; q += TOGETHER) {
        const some_t some = *(const some_t *)(x + q);
        found |= (bits_t)(some != some);
    }
    return (found[0] | found[1]) != 0;
}
#undef step_on
#undef COMPARE

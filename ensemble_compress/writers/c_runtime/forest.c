//if trees
//if bits
/* A number from the tables: `n` bits at bit `at`, lowest first. Where the CPU can, the four loads become one. */
static inline uint32_t @name@_field(uint32_t at, uint32_t n)
{
    const uint8_t *p = @name@_tables + (at >> 3);
    const uint32_t word =
        (uint32_t)p[0] | ((uint32_t)p[1] << 8) | ((uint32_t)p[2] << 16) | ((uint32_t)p[3] << 24);
    return (word >> (at & 7u)) & (((uint32_t)1 << n) - 1u);
}
//else
/* A number from the tables: `n` bytes at byte `at`, lowest first. */
static inline uint32_t @name@_field(uint32_t at, uint32_t n)
{
    const uint8_t *p = @name@_tables + at;
    uint32_t word = n > 0u ? (uint32_t)p[0] : 0u;
    if (n > 1u) word |= (uint32_t)p[1] << 8;
    if (n > 2u) word |= (uint32_t)p[2] << 16;
    if (n > 3u) word |= (uint32_t)p[3] << 24;
    return word;
}
//end

/* Whether a row goes left at a test. */
static inline int @name@_goes_left(const @name@_input_t *row, uint32_t test)
{
    const uint32_t at = @tests_at@u + test * @test_width@u;
    const uint32_t stored = @stored@;
    const @name@_input_t value = row[@feature@];
//if numeric
    uint32_t key;
//end
//if float
    /* The bits of floats lie in the order of the floats, but for the sign. Both zeros get one key. */
    union { float number; uint32_t bits; } as;
    uint32_t size;
    as.number = value;
    size = as.bits & 0x7fffffffu;
    if (size > 0x7f800000u) return @nan_left@; /* missing (NaN) */
//end
//if sets
//if numeric
    if (test >= @first_set@u) { /* a set of categories: the value numbers a bit */
//else
    { /* a set of categories: the value numbers a bit */
//end
        const uint32_t start = @set_start@;
        const uint32_t n_codes = (@set_end@ - start) * @codes_a_unit@u;
        uint32_t code;
//if float
//if truncate
        if (size >= 0x3f800000u && size != as.bits) return 0; /* -1 and below; a fraction is dropped */
//else
        if (size != 0u && size != as.bits) return 0; /* below zero */
//end
//if exact
        if (size != 0u && size < 0x3f800000u) return 0; /* between 0 and 1 */
        if (size < 0x4b000000u && (size & (0x7fffffu >> ((size >> 23) - 127u))) != 0u) return 0; /* a fraction */
//end
        if (size >= 0x4f000000u) return 0; /* 2^31 and above */
//else
        if (value < 0) return 0;
//end
        code = (uint32_t)value;
//if bits
        return code < n_codes && @name@_field(@sets_at@u + start + code, 1u) != 0u;
//else
        return code < n_codes
            && ((@name@_field(@sets_at@u + start + (code >> 3), 1u) >> (code & 7u)) & 1u) != 0u;
//end
    }
//end
//if numeric
//if float
    key = as.bits != size ? 0x80000000u - size : 0x80000000u + size;
//else
    key = (uint32_t)((int32_t)value + @key_of_zero@);
//end
    return key <= (stored << @shift@) + @offset@u;
//end
}

/* Where the values of a row's leaf lie, in the tree at `*at`, which moves on to the next tree. */
static inline uint32_t @name@_leaf(const @name@_input_t *row, uint32_t *at)
{
    uint32_t n = @count@; /* leaves of the subtree */
    uint32_t split = *at + @count_width@u;
    uint32_t leaf;
    uint32_t width;
//if bits
    uint32_t left_width = 0u;
    while (((n - 2u) >> left_width) != 0u) left_width++;
//else
    const uint32_t left_width = @left_width@u;
//end
    width = left_width + @number_width@u;
    leaf = split + (n - 1u) * width;
    *at = leaf + n * @leaf_width@u;
    while (n > 1u) {
        const uint32_t n_left = @name@_field(split, left_width) + 1u;
        if (@name@_goes_left(row, @number@)) {
            split += width;
            n = n_left;
        } else {
            split += n_left * width;
            leaf += n_left * @leaf_width@u;
            n -= n_left;
        }
    }
    return @values_of_leaf@;
}

//end
@api@void @name@_scores(const @name@_input_t *row, int32_t *scores)
{
    uint32_t k;
//if trees
    uint32_t at = @trees_at@u;
    uint32_t t;
//else
    (void)row;
//end
    for (k = 0u; k < @n_outputs@u; k++) scores[k] = @bias@;
//if trees
//if vector
    for (t = 0u; t < @n_trees@; t++) {
        const uint32_t leaf = @name@_leaf(row, &at);
        for (k = 0u; k < @n_outputs@u; k++) scores[k] += (int32_t)(@value@ + @value_offset@u);
    }
//else
    for (k = 0u; k < @n_outputs@u; k++) {
        for (t = 0u; t < @n_trees@; t++) {
            const uint32_t leaf = @name@_leaf(row, &at);
            scores[k] += (int32_t)(@value@ + @value_offset@u);
        }
    }
//end
//end
}
//if classes

@api@int @name@_predict(const @name@_input_t *row)
{
    int32_t scores[@n_outputs@];
    int best = 0;
//if several
    int k;
//end
    @name@_scores(row, scores);
//if several
    for (k = 1; k < @n_outputs@; k++) {
        if (scores[k] > scores[best]) best = k;
    }
//end
//if binary
    if (scores[0] @above@ 0) best = 1;
//end
    return best;
}
//end
//if regression

@api@int32_t @name@_predict(const @name@_input_t *row)
{
    int32_t score;
    @name@_scores(row, &score);
    return score;
}
//end

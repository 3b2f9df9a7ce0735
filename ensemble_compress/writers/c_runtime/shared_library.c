/* A forest behind a C interface: sums of leaves over trees, and what follows from them.
 *
 * tables.h, written for each model, defines its numbers and tables: VALUE, what rows are compared as, and SUM, in which
 * leaves are summed (float or double), N_... and so on. Sums are in tree order and in SUM, as in Forest.margin: compile
 * without -ffast-math. The tables themselves are bytes that the assembler takes from a file: no compiler reads them. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "tables.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the tables of a forest are little-endian: a library can be compiled for little-endian processors only"
#endif

#if defined(_WIN32)
#define EC_API __declspec(dllexport)
#else
#define EC_API __attribute__((visibility("default")))
#endif
#include "forest_library.h"

#define INLINE static inline __attribute__((always_inline, unused))
#define ALIGNED __attribute__((aligned(64)))
#define APART static __attribute__((noinline, unused)) /* what needs much of the stack has a frame of its own */

enum { LANES = 8, SEARCHES = 16, BLOCK = 256, FEW = 64, GROUP = 32, CHUNK = N_OUTPUTS > 1 && WIDTH == 1 ? 256 : 32, TILE = 8, WALK_LANES = 8, FEWEST_WALKED = 12, COMPLETE_LANES = 16, WALK_BLOCK = 32 };

/* -- the tables --------------------------------------------------------------------------------------------------- */

/* Trees that are tried by bit vectors, for so many rows (0: never), or walked: as heaps, as packed nodes, or one after the other. In a
 * block of keys the second columns of a walked run's pairs begin at column `second` (0: there are none). */
typedef struct {
    uint32_t first_tree, last_tree, fewest_rows, first_pair, n_pairs, is_heaps, is_packed, first_walked_pair, n_walked_pairs, second;
} run_t;

/* Two columns of keys: `above` has missing values above all others, `below` (0: there is none) below all others. */
typedef struct {
    double origin, scale;
    uint32_t first_cut, first_bucket, last_bucket, n_steps, feature;
    int32_t set;
    uint32_t above, below;
} pair_t;
typedef struct { uint32_t at, above, mask; } test_t; /* of bit vectors; the bytes of `above` and of `mask` are alike */
typedef struct { uint32_t at, key, mask; } upper_t;
typedef struct { uint32_t key, next; } record_t; /* next: its column in a block of keys, above that its left child's place */
typedef struct { double threshold; uint32_t item, offset, feature, flags; } node_t; /* item: a leaf's values, or a set */

#ifndef TABLES_ELSEWHERE
#if defined(__APPLE__)
__asm__(".section __TEXT,__const\n.p2align 6\n.globl _ec_tables\n.private_extern _ec_tables\n_ec_tables:\n.incbin \"tables.bin\"\n.byte 0\n.text\n");
#elif defined(_WIN32)
__asm__(".section .rdata,\"dr\"\n.p2align 6\n.globl ec_tables\nec_tables:\n.incbin \"tables.bin\"\n.byte 0\n.text\n");
#else
__asm__(".pushsection .rodata\n.p2align 6\n.globl ec_tables\n.hidden ec_tables\nec_tables:\n.incbin \"tables.bin\"\n.byte 0\n.popsection\n");
#endif
extern const unsigned char ec_tables[] __attribute__((visibility("hidden"), aligned(64)));
#endif

#ifndef COMPLETE
#define COMPLETE COMPLETE_WHOLE
#endif

/* -- steps that the traversals share ------------------------------------------------------------------------------- */

typedef SUM sum_t __attribute__((may_alias));
typedef double two_t __attribute__((vector_size(16), aligned(8), may_alias));
typedef double four_t __attribute__((vector_size(32), may_alias));
typedef uint64_t four_bits_t __attribute__((vector_size(32), may_alias));

/* Only what is optimised knows the lane of a step for a constant. */
#if defined(__x86_64__) && UINTPTR_MAX > 0xffffffffu && defined(__OPTIMIZE__) && !defined(NO_ASSEMBLER)
#define HAS_ASSEMBLER
#endif

/* To be found here: a compiler would put it off, and keep what it is made of. */
#define hold(x) __asm__("" : "+r"(x))

/* All bits for 1, none for 0. The compiler is not to see which, or makes a branch of it, and rows differ: half of them would be
 * guessed wrong (measured: twice the time). */
INLINE uint32_t all_bits(uint32_t is_true)
{
    hold(is_true);
    return 0u - is_true;
}

/* A sum lies in the first bytes of its own place in the output: a float, where SUM is one, until it is finished. */
INLINE sum_t *slot(double *out) { return (sum_t *)out; }

INLINE void finish(double *out, size_t k)
{
    const SUM sum = BIAS_LAST ? *slot(out) + BIAS[k] : *slot(out);
    *out = (double)(sum / (SUM)DIVISOR);
}

/* Add a leaf's row of values. */
INLINE void add_row(uint32_t tree, const SUM *values, double *out)
{
#if WIDTH > 1
    size_t k = 0;
    if (sizeof(SUM) == sizeof(double)) {
        for (; k + 2 <= WIDTH; k += 2) *(two_t *)(void *)(out + k) += *(const two_t *)(const void *)(values + k);
    }
    for (; k < WIDTH; k++) *slot(out + k) += values[k];
    (void)tree;
#else
    *slot(out + (N_OUTPUTS > 1 ? TREE_OUTPUT[tree] : 0)) += *values;
#endif
}

INLINE void add_values(uint32_t tree, size_t item, double *out) { add_row(tree, VALUES + item * WIDTH, out); }

#if HAS_SETS
/* Whether the code of x is in a set of categories; a missing value is in none. */
INLINE uint32_t is_in_set(size_t set, VALUE x)
{
    const uint32_t *words = SET_WORDS + SET_START[set];
    const int64_t n_codes = 32 * ((int64_t)SET_START[set + 1] - SET_START[set]);
    int64_t code;
    if (!(x < (VALUE)n_codes && IS_CODE(x, n_codes))) return 0;
    code = (int64_t)x;
    return words[code >> 5] >> (code & 31) & 1;
}
#endif

#if HAS_BITS
/* Bit vectors keep the sums of a block output by output while it goes through a run, or in their places in the output. */
#if WIDTH == 1 && N_OUTPUTS > 1 && N_OUTPUTS <= 32
#define SUMS_APART
typedef SUM sums_t;
#define of_column(sums, k) ((sums) + (k) * (size_t)BLOCK)
#define of_row(sums, i) ((sums) + (i))
#define as_sum(sums) (sums)
#else
typedef double sums_t;
#define of_column(sums, k) ((sums) + (k))
#define of_row(sums, i) ((sums) + (i) * (size_t)N_OUTPUTS)
#define as_sum(sums) slot(sums)
#endif
/* A tree that adds to an output: the values of its leaves, and where each row's lies among them. */
typedef struct { const SUM *values; const uint8_t *places; } added_t;
#endif

#if HAS_PACKED || HAS_HEAPS
/* The keys of a chunk of rows lie on the stack: 384 kB of it, where threads have some to spare. */
#ifndef KEYS_ON_STACK
#if defined(__GLIBC__) || defined(_WIN32)
#define KEYS_ON_STACK 98304
#else
#define KEYS_ON_STACK 16384
#endif
#endif

#define EACH_LANE(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

/* How many keys a block of rows has. */
INLINE size_t keys_of_block(const run_t *run, uint32_t is_missing)
{
    return (size_t)(run->n_walked_pairs + (run->second && is_missing ? run->second : 1)) * WALK_BLOCK;
}

#endif
#if HAS_PACKED
#include "packed_steps.h"
#endif
#if HAS_HEAPS
#include "heap_steps.h"
#endif

/* -- the traversals, for each kind of rows and each kind of processor ------------------------------------------------ */

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define LEVEL_NAME(x) JOIN(x, LEVEL)

#ifndef HIGHEST_LEVEL
#define HIGHEST_LEVEL 2
#endif
#if !defined(__x86_64__)
#undef HIGHEST_LEVEL
#define HIGHEST_LEVEL 0
#endif

#define LEVEL 0
#define VECTOR_BYTES 16
#include "level.h"

#if HIGHEST_LEVEL >= 1
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2")
#endif
#define LEVEL 1
#define VECTOR_BYTES 32
#include "level.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#if HIGHEST_LEVEL >= 2
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi,bmi2")
#endif
#define LEVEL 2
#define VECTOR_BYTES 64
#include "level.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#if HIGHEST_LEVEL >= 1
#include <cpuid.h>

/* 2: AVX-512 with words of 8 and 16 bits, 1: AVX2, 0: neither; the system has to save their registers too. */
static int find_level(void)
{
    uint32_t a, b, c, d, saved, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (saved & 0x06) != 0x06) return 0;
    if (!(b >> 3 & 1) || !(b >> 5 & 1) || !(b >> 8 & 1)) return 0; /* BMI, AVX2, BMI2 */
    if ((saved & 0xe6) != 0xe6) return 1;
    return (b >> 16 & 1) && (b >> 17 & 1) && (b >> 30 & 1) && (b >> 31 & 1) ? 2 : 1; /* F, DQ, BW, VL */
}

/* Asked once: a virtual machine takes microseconds to answer. Threads that ask at once find the same. */
static int level(void)
{
    static int known;
    int found = __atomic_load_n(&known, __ATOMIC_RELAXED) - 1;
    if (found < 0) {
        found = find_level();
        __atomic_store_n(&known, found + 1, __ATOMIC_RELAXED);
    }
    return found < HIGHEST_LEVEL ? found : HIGHEST_LEVEL;
}
#else
static int level(void) { return 0; }
#endif

#if HIGHEST_LEVEL >= 2
#define DISPATCH(row, ...) \
    switch (level()) { \
    case 2: margins_##row##_2(__VA_ARGS__); break; \
    case 1: margins_##row##_1(__VA_ARGS__); break; \
    default: margins_##row##_0(__VA_ARGS__); \
    }
#elif HIGHEST_LEVEL == 1
#define DISPATCH(row, ...) \
    if (level() > 0) margins_##row##_1(__VA_ARGS__); \
    else margins_##row##_0(__VA_ARGS__)
#else
#define DISPATCH(row, ...) margins_##row##_0(__VA_ARGS__)
#endif

/* A leaf reads the first feature, also where there is none. */
static const double nothing[1];

static void margins_of_floats(const float *rows, size_t n_rows, double *out)
{
    DISPATCH(float, N_FEATURES > 0 ? rows : (const float *)(const void *)nothing, n_rows, out);
}

static void margins_of_doubles(const double *rows, size_t n_rows, double *out)
{
    DISPATCH(double, N_FEATURES > 0 ? rows : nothing, n_rows, out);
}

#include "answers.h"

/* -- the interface ------------------------------------------------------------------------------------------------------ */

#define PIECES(margins_of, write) \
    double margin[PIECE * N_OUTPUTS]; \
    size_t n, i; \
    for (; n_rows > 0; n_rows -= n) { \
        n = n_rows < PIECE ? n_rows : PIECE; \
        margins_of(rows, n, margin); \
        for (i = 0; i < n; i++) write; \
        rows += n * N_FEATURES; \
    }

EC_API void predict_margin(const float *rows, size_t n_rows, double *out) { margins_of_floats(rows, n_rows, out); }

EC_API void predict_margin_f64(const double *rows, size_t n_rows, double *out) { margins_of_doubles(rows, n_rows, out); }

EC_API void predict_labels(const float *rows, size_t n_rows, int32_t *out)
{
    PIECES(margins_of_floats, *out++ = decide(margin + i * N_OUTPUTS))
}

EC_API void predict_labels_f64(const double *rows, size_t n_rows, int32_t *out)
{
    PIECES(margins_of_doubles, *out++ = decide(margin + i * N_OUTPUTS))
}

EC_API void predict_answers(const float *rows, size_t n_rows, double *out)
{
    PIECES(margins_of_floats, (answer_row(margin + i * N_OUTPUTS, out), out += N_ANSWERS))
}

EC_API void predict_answers_f64(const double *rows, size_t n_rows, double *out)
{
    PIECES(margins_of_doubles, (answer_row(margin + i * N_OUTPUTS, out), out += N_ANSWERS))
}

static const char *text(uint32_t i, uint32_t first, uint32_t n)
{
    return i < n ? TEXTS + TEXT_START[first + i] : NULL;
}

EC_API int32_t ec_abi_version(void) { return EC_ABI_VERSION; }
EC_API const char *ec_library_version(void) { return TEXTS + TEXT_START[0]; }
EC_API const char *ec_model_name(void) { return TEXTS + TEXT_START[1]; }
EC_API const char *ec_metadata(void) { return TEXTS + TEXT_START[2]; }
EC_API const char *ec_feature_name(int32_t f) { return text((uint32_t)f, 3, HAS_FEATURE_NAMES ? N_FEATURES : 0); }
EC_API const char *ec_class_label(int32_t code) { return text((uint32_t)code, 3 + (HAS_FEATURE_NAMES ? N_FEATURES : 0), N_CLASSES); }
EC_API int32_t ec_n_features(void) { return N_FEATURES; }
EC_API int32_t ec_n_outputs(void) { return N_OUTPUTS; }
EC_API int32_t ec_n_classes(void) { return N_CLASSES; }
EC_API int32_t ec_n_answers(void) { return N_ANSWERS; }
EC_API int32_t ec_n_trees(void) { return N_TREES; }
EC_API int32_t ec_input_bytes(void) { return (int32_t)sizeof(VALUE); }
EC_API int32_t ec_margin_bytes(void) { return (int32_t)sizeof(SUM); }
EC_API int32_t ec_handles_nan(void) { return HANDLES_NAN; }

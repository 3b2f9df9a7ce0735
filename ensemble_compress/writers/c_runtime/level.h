/* The traversals for one kind of processor: included by shared_library.c with LEVEL and VECTOR_BYTES, which it ends. */

#define NAME(x) LEVEL_NAME(x)
#if HAS_BITS || HAS_PACKED || HAS_HEAPS
#include "ranks.h"
#endif
#if HAS_BITS
#include "bit_vectors.h"
#endif
#if HAS_PACKED
#include "packed_walk.h"
#endif
#if HAS_HEAPS
#include "heap_walk.h"
#endif
#undef NAME

#define NAME(x) JOIN(JOIN(x, ROW), LEVEL)
#define ROW float
#include "traversal.h"
#undef ROW
#define ROW double
#include "traversal.h"
#undef ROW
#undef NAME

#undef VECTOR_BYTES
#undef LEVEL

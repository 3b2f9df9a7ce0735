/* Both traversals for one kind of processor: included by shared_library.c with LEVEL and VECTOR_BYTES, which it ends. */

#if HAS_BITS
#define NAME(x) LEVEL_NAME(x)
#include "bit_vectors.h"
#undef NAME
#endif

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

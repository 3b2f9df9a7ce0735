/* The interface of a model that ensemble-compress wrote as a shared library. It is the same for each model: what a model
 * has of features, outputs and classes, the library says when it is asked.
 *
 * A row is ec_n_features() numbers; rows lie one behind the other. Every function may run in many threads at once, needs
 * no preparation, allocates no memory, and writes nothing but `out`, and on x86-64 one relaxed atomic integer of the
 * library's own, which remembers what kind of processor was found; n_rows may be 0. NaN is a missing value: rows that have
 * one are no rows of the model where ec_handles_nan() is 0 (the answer says nothing then, and nothing breaks).
 * Categories are given by their codes.
 *
 * predict_margin takes up to 400 kB of the stack. predict_labels and predict_answers keep some rows' margins there too: up to
 * 128 KiB more, and 8 bytes an output where a model has more than 16,384 of them. The library is for little-endian
 * processors, as its tables are; for others it does not compile. */
#ifndef EC_FOREST_LIBRARY_H
#define EC_FOREST_LIBRARY_H

#include <stddef.h>
#include <stdint.h>

#define EC_ABI_VERSION 2

#ifndef EC_API
#define EC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The sums of the trees before the link, ec_n_outputs() a row: those of Forest.margin to the bit. Rows of doubles are
 * rounded to floats first where ec_input_bytes() is 4, as the model itself does; floats are exact as doubles. */
EC_API void predict_margin(const float *rows, size_t n_rows, double *out);
EC_API void predict_margin_f64(const double *rows, size_t n_rows, double *out);

/* The code of each row's class, which numbers its label: ec_class_label(code); -1 from a regression model. */
EC_API void predict_labels(const float *rows, size_t n_rows, int32_t *out);
EC_API void predict_labels_f64(const double *rows, size_t n_rows, int32_t *out);

/* The probability of each class, or a regression model's predictions, ec_n_answers() a row; exp() and the like are those
 * of the C library, whose last bits are its own. */
EC_API void predict_answers(const float *rows, size_t n_rows, double *out);
EC_API void predict_answers_f64(const double *rows, size_t n_rows, double *out);

EC_API int32_t ec_abi_version(void); /* EC_ABI_VERSION of the library: another one is another interface */
EC_API const char *ec_library_version(void); /* the version of ensemble-compress that wrote it */
EC_API const char *ec_model_name(void);
EC_API const char *ec_metadata(void); /* all that follows, names and labels as JSON in UTF-8 */

EC_API int32_t ec_n_features(void);
EC_API int32_t ec_n_outputs(void);
EC_API int32_t ec_n_classes(void); /* 0 for a regression model */
EC_API int32_t ec_n_answers(void);
EC_API int32_t ec_n_trees(void);
EC_API int32_t ec_input_bytes(void); /* 4: rows are compared as floats; 8: as doubles */
EC_API int32_t ec_margin_bytes(void); /* 4: margins are floats, given as doubles; 8: doubles */
EC_API int32_t ec_handles_nan(void); /* whether the model has a rule for NaN */
EC_API const char *ec_feature_name(int32_t feature); /* NULL where the model knows no names, or has no such feature */
EC_API const char *ec_class_label(int32_t code); /* as text; NULL where there is no such class */

#ifdef __cplusplus
}
#endif
#endif

/* Loads the model named by the first argument, and prints the margins of the row that the others make. POSIX. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "forest_library.h"

/* The address of a function; a conversion from void * to it is not C, a copy of the bytes is. */
static void find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    if (found == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    memcpy(function, &found, sizeof found);
}

int main(int argc, char **argv)
{
    int32_t (*abi_version)(void), (*n_features)(void), (*n_outputs)(void);
    void (*predict)(const double *, size_t, double *);
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    double *row, *margin;
    int32_t i;
    if (library == NULL) {
        fprintf(stderr, "usage: %s model.so number...\n", argv[0]);
        return 1;
    }
    find(library, "ec_abi_version", &abi_version);
    if (abi_version() != EC_ABI_VERSION) {
        fprintf(stderr, "%s has interface %d; expected %d\n", argv[1], (int)abi_version(), EC_ABI_VERSION);
        return 1;
    }
    find(library, "ec_n_features", &n_features);
    find(library, "ec_n_outputs", &n_outputs);
    find(library, "predict_margin_f64", &predict);
    if (argc != n_features() + 2) {
        fprintf(stderr, "%s expects %d numbers; found %d\n", argv[1], (int)n_features(), argc - 2);
        return 1;
    }
    row = calloc((size_t)n_features() + 1, sizeof *row);
    margin = calloc((size_t)n_outputs(), sizeof *margin);
    if (row == NULL || margin == NULL) return 1;
    for (i = 0; i < n_features(); i++) row[i] = strtod(argv[i + 2], NULL);
    predict(row, 1, margin);
    for (i = 0; i < n_outputs(); i++) printf("%.17g\n", margin[i]);
    free(row);
    free(margin);
    dlclose(library);
    return 0;
}

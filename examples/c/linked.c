/* Predicts one row, given as arguments, with the model that this program is linked to. */
#include <stdio.h>
#include <stdlib.h>
#include "forest_library.h"

int main(int argc, char **argv)
{
    const int32_t n_features = ec_n_features(), n_answers = ec_n_answers();
    float *row = calloc((size_t)n_features + 1, sizeof *row);
    double *answers = calloc((size_t)n_answers, sizeof *answers);
    int32_t i, label;
    if (row == NULL || answers == NULL) return 1;
    if (argc != n_features + 1) {
        fprintf(stderr, "%s expects %d numbers, one for each feature; found %d\n", ec_model_name(), (int)n_features, argc - 1);
        return 1;
    }
    for (i = 0; i < n_features; i++) row[i] = strtof(argv[i + 1], NULL);

    predict_answers(row, 1, answers);
    for (i = 0; i < n_answers; i++) {
        const char *of_class = ec_class_label(i);
        printf("%s %.9g\n", of_class != NULL ? of_class : "prediction", answers[i]);
    }
    if (ec_n_classes() > 0) {
        predict_labels(row, 1, &label);
        printf("label %s\n", ec_class_label(label));
    }
    free(row);
    free(answers);
    return 0;
}

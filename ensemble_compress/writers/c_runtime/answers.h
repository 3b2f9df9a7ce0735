/* What follows from margins: labels, probabilities, predictions. Included once by shared_library.c. */

/* Rows whose margins fit on the stack: whole blocks as long as that is possible. */
enum { PIECE = N_OUTPUTS <= 8 ? 2048 / N_OUTPUTS : N_OUTPUTS <= 64 ? 256 : N_OUTPUTS < 2048 ? 2048 / N_OUTPUTS : 1 };

static int32_t decide(const double *margin)
{
    int32_t k, best = 0;
    if (N_CLASSES == 0) return -1;
    if (N_OUTPUTS == 1) return N_CLASSES == 2 && (TIE_CLASS ? margin[0] >= 0 : margin[0] > 0);
    for (k = 1; k < N_OUTPUTS; k++) {
        if (margin[k] > margin[best]) best = k;
    }
    return best;
}

static double softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }

static double sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }

/* The powers of e, divided by their sum. */
static void normalize(double *answer, double divisor)
{
    double largest = answer[0], sum = 0;
    int32_t k;
    for (k = 1; k < N_OUTPUTS; k++) largest = answer[k] > largest ? answer[k] : largest;
    for (k = 0; k < N_OUTPUTS; k++) {
        answer[k] = (double)(SUM)exp((double)(SUM)((answer[k] - largest) / divisor));
        sum += answer[k];
    }
    for (k = 0; k < N_OUTPUTS; k++) answer[k] /= (double)(SUM)sum;
}

/* Averages of probabilities that rounding has moved off one are made to add up to one again. */
static void mend(double *answer)
{
    double sum = 0, largest = 0, rest = 0;
    int32_t k, is_off = 0;
    for (k = 0; k < N_OUTPUTS; k++) {
        sum += answer[k];
        is_off |= answer[k] < 0;
        largest = answer[k] > largest ? answer[k] : largest;
    }
    if (!is_off && fabs(sum - 1) <= 1e-6) return;
    for (k = 0; k < N_OUTPUTS; k++) {
        answer[k] = largest > 0 && answer[k] > 0 ? answer[k] / largest : 0;
        rest += answer[k];
    }
    for (k = 0; k < N_OUTPUTS; k++) answer[k] = rest > 0 && rest <= N_OUTPUTS ? answer[k] / rest : 1.0 / N_OUTPUTS;
}

static double linked(double x)
{
    switch (LINK) {
    case LINK_SIGMOID:
        x = (double)((SUM)x * (SUM)LINK_SCALE);
        return sigmoid(sizeof(SUM) == 4 && x < -88.7f ? -88.7f : x);
    case LINK_EXP: return exp(x);
    case LINK_SOFTPLUS: return softplus(x);
    case LINK_SIGNED_SQUARE: return x * fabs(x);
    case LINK_STEP: return x > 0;
    case LINK_ISOLATION: return -exp2(-x);
    default: return x;
    }
}

/* The probability of each class, or the predicted values, from the margins of a row. */
static void answer_row(const double *margin, double *out)
{
    int32_t k;
    for (k = 0; k < N_OUTPUTS; k++) out[k] = margin[k];
    if (LINK == LINK_SOFTMAX) normalize(out, 1);
    else if (LINK == LINK_SAMME) normalize(out, N_OUTPUTS > 2 ? N_OUTPUTS - 1 : 1);
    else {
        for (k = 0; k < N_OUTPUTS; k++) out[k] = linked(out[k]);
    }
    for (k = 0; k < N_OUTPUTS; k++) out[k] = (double)(SUM)out[k];
#if N_ANSWERS > N_OUTPUTS
    out[1] = out[0];
    out[0] = (double)(SUM)(1 - out[1]);
#else
    if (N_CLASSES > 0 && N_OUTPUTS == 1 && LINK == LINK_SIGMOID) out[0] = (double)(SUM)(1 - out[0]);
    else if (N_CLASSES > 0 && LINK == LINK_IDENTITY) mend(out);
#endif
}

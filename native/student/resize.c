/* Which inputs an output of a box resize covers, and how much of each. */
#include "internal.h"

#include <stdlib.h>

void student_axis_free(student_axis *axis)
{
    free(axis->first);
    free(axis->weights);
    *axis = (student_axis){0};
}

int student_axis_fit(student_axis *axis, int n_in, int n)
{
    if (axis->n_in == n_in && axis->n == n)
        return 0;
    student_axis_free(axis);
    /* An interval of n_in / n samples that begins inside one touches at most so many. */
    int reach = (n_in + n - 1) / n + 1;
    if (n_in % n == 0)
        reach = n_in / n;
    if (reach > n_in)
        reach = n_in;
    axis->first = malloc((size_t)n * sizeof(*axis->first));
    axis->weights = calloc((size_t)n * (size_t)reach, sizeof(*axis->weights));
    if (!axis->first || !axis->weights) {
        student_axis_free(axis);
        return -1;
    }
    /* In units of 1 / n of a sample everything is a whole number. */
    for (int i = 0; i < n; i++) {
        const int64_t begin = (int64_t)i * n_in, end = begin + n_in;
        int first = (int)(begin / n);
        if (first > n_in - reach)
            first = n_in - reach; /* the same number of taps everywhere; those before count 0 */
        axis->first[i] = first;
        for (int t = 0; t < reach; t++) {
            const int64_t left = (int64_t)(first + t) * n, right = left + n;
            const int64_t from = left > begin ? left : begin, to = right < end ? right : end;
            if (to > from)
                axis->weights[(ptrdiff_t)i * reach + t] = (float)((double)(to - from) / n_in);
        }
    }
    axis->n_in = n_in;
    axis->n = n;
    axis->reach = reach;
    return 0;
}

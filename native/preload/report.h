/* What is told of an encode: lines on standard error, and a file of counters. */
#ifndef IDSE_REPORT_H
#define IDSE_REPORT_H

#include <stdint.h>

struct counters {
    uint64_t frames;     /* handed on to x264 */
    uint64_t steered;    /* with offsets that are not all zero */
    uint64_t unsteered;  /* those of which nothing is known, or nothing is to be changed */
    uint64_t lost;       /* without offsets because there was no answer in time, or none to use */
    uint64_t late;       /* live: steered by offsets of a picture before the previous one */
    uint64_t age;        /* live: sum over steered pictures of how many pictures old offsets were */
    uint64_t skipped;    /* live: pictures that the server was not shown, for it was behind */
    uint64_t sessions;   /* that the server took on */
    uint64_t own;        /* nanoseconds of processor time that were not x264's */
    uint64_t waited;     /* nanoseconds of waiting for the server */
};

struct facts {
    int build;
    int width, height;
    const char *mode;    /* "file", "wait", "live" or "off" */
    const char *problem; /* why nothing is steered, or what went wrong first; empty: nothing */
};

/* Nanoseconds of CLOCK_MONOTONIC, and of processor time of this thread. */
uint64_t idse_now(void);
uint64_t idse_worked(void);

/* Hands lines to `sink` from now on, on whatever thread they are said; NULL: standard error. */
void idse_log_to(void (*sink)(const char *line));

/* Writes "idse: ..." and a line feed to standard error, in one piece. */
void idse_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Appends one line of JSON to the file at `path`; several processes may do so at once. */
void idse_report(const char *path, const struct facts *facts, const struct counters *counters);

#endif

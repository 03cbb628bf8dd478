#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 512, RECORD = 2048, NAME = 64 };

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t idse_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t idse_worked(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

/* A full disk or a closed terminal is nothing that an encode should end for. */
static void write_whole(int file, const char *text, size_t size)
{
    const ssize_t written = write(file, text, size);
    (void)written;
}

/* Nor is a pipe that nobody reads any more, or that is full: the line is then left out. A pipe that
 * can be written to takes PIPE_BUF bytes, which no line has, without waiting. */
static void write_line(const char *line, size_t size)
{
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&ready, 1, 0) != 1 || ready.revents != POLLOUT)
        return;
    /* Its reader may go away just now. */
    const struct timespec now = {0};
    sigset_t broken, before, waiting;
    sigemptyset(&broken);
    sigaddset(&broken, SIGPIPE);
    sigpending(&waiting);
    pthread_sigmask(SIG_BLOCK, &broken, &before);
    const bool failed = write(STDERR_FILENO, line, size) < 0 && errno == EPIPE;
    if (failed && !sigismember(&waiting, SIGPIPE))
        sigtimedwait(&broken, NULL, &now);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static _Atomic(void (*)(const char *)) listener;

void idse_log_to(void (*sink)(const char *line))
{
    atomic_store(&listener, sink);
}

void idse_log(const char *format, ...)
{
    char line[LINE] = "idse: ";
    const size_t used = strlen(line);
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(line + used, sizeof(line) - used - 1, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    void (*sink)(const char *) = atomic_load(&listener);
    if (sink) {
        sink(line + used);
        return;
    }
    size_t size = strlen(line);
    line[size++] = '\n';
    write_line(line, size);
}

/* Keeps what stands for itself between the quotes of JSON. */
static void plain(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == '"' || *text == '\\')
            *text = ' ';
    }
}

/* The program's name as the kernel has it. */
static void program_name(char name[NAME])
{
    name[0] = '\0';
    const int file = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    const ssize_t size = read(file, name, NAME - 1);
    close(file);
    name[size > 0 ? size : 0] = '\0';
    name[strcspn(name, "\n")] = '\0';
    plain(name);
}

void idse_report(const char *path, const struct facts *facts, const struct counters *c)
{
    char name[NAME], problem[256], record[RECORD];
    program_name(name);
    snprintf(problem, sizeof(problem), "%s", facts->problem);
    plain(problem);
    const int size = snprintf(
        record, sizeof(record),
        "{\"pid\": %ld, \"program\": \"%s\", \"build\": %d, \"width\": %d, \"height\": %d, "
        "\"mode\": \"%s\", \"problem\": \"%s\", \"frames\": %" PRIu64 ", \"steered\": %" PRIu64
        ", \"unsteered\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"late\": %" PRIu64
        ", \"age\": %" PRIu64 ", \"skipped\": %" PRIu64 ", \"sessions\": %" PRIu64
        ", \"own_ns\": %" PRIu64 ", \"waited_ns\": %" PRIu64 "}\n",
        (long)getpid(), name, facts->build, facts->width, facts->height, facts->mode, problem,
        c->frames, c->steered, c->unsteered, c->lost, c->late, c->age, c->skipped, c->sessions,
        c->own, c->waited);
    const int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file < 0) {
        idse_log("cannot write the report %s", path);
        return;
    }
    write_whole(file, record, size > 0 ? (size_t)size : 0);
    close(file);
}

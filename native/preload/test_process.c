/* In a process of somebody else's: its descriptors, signals, limits and children, and what it may do
 * with an encoder. Meant to run under ASan and UBSan. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "encoder.h"
#include "report.h"
#include "test_sidecar.h"

enum { LOOKAHEAD = 6, PICTURES = 24, MOST_BYTES = 1 << 20 };

/* -- pieces */

/* Runs a test in a process of its own: what it closes, or is killed for, is no other's. */
static void in_a_child(void (*test)(void))
{
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);
        failures = 0;
        test();
        _exit(failures != 0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static const struct idse_hello SMALL = {.width = WIDTH,
                                        .height = HEIGHT,
                                        .chroma = IDSE_420,
                                        .bit_depth = 8,
                                        .mb_cols = 5,
                                        .mb_rows = 3,
                                        .slots = 4};

static void test_closed_standard_input(void)
{
    close(STDIN_FILENO);
    struct ring *ring = idse_ring_new(&SMALL);
    CHECK(ring && ring->file > STDERR_FILENO);
    CHECK(fcntl(ring->file, F_GETFD) == FD_CLOEXEC);
    CHECK(fcntl(STDIN_FILENO, F_GETFD) == -1);
    idse_ring_drop(ring);
}

static void test_small_files_only(void)
{
    const struct rlimit small = {.rlim_cur = 4096, .rlim_max = RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    CHECK(idse_ring_new(&SMALL) == NULL);
}

static void test_nobody_reads_errors(void)
{
    int ends[2];
    signal(SIGPIPE, SIG_DFL);
    CHECK(pipe(ends) == 0);
    dup2(ends[1], STDERR_FILENO);
    /* Full: another line would have to wait. */
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    char page[4096] = {0};
    while (write(ends[1], page, sizeof(page)) > 0)
        ;
    fcntl(ends[1], F_SETFL, 0);
    idse_log("one too many");
    close(ends[0]);
    idse_log("nobody is there");
    close(STDERR_FILENO);
    idse_log("there is not even an end");
}

/* A full sidecar may hang up before the greeting is sent: why it did is known all the same. */
static void test_a_full_sidecar(const char *path)
{
    struct sidecar sidecar = {.full = true};
    begin_sidecar(&sidecar, path);
    struct session *session = calloc(1, sizeof(*session));
    for (int i = 0; session && i < 200; i++) {
        CHECK(idse_session_init(session, &SMALL, path, "", 1000000000) == NULL);
        idse_session_step(session);
        while (session->state == SESSION_GREETING)
            idse_session_wait(session, idse_now() + 1000000000);
        CHECK(session->state == SESSION_DOWN && strcmp(session->why, "it is full") == 0);
        idse_session_close(session, NULL);
    }
    free(session);
    end_sidecar(&sidecar, path);
}

/* -- encoders */

static char report[80];

struct output {
    size_t size;
    int pictures;
    uint8_t bytes[MOST_BYTES];
};

static int encode(void *handle, const struct picture *given, struct output *output)
{
    struct picture picture, out;
    if (given)
        picture = *given;
    struct nal {
        int facts[6];
        uint8_t *bytes;
        int rest[2];
    } *nals = NULL;
    int count = 0;
    const int size = x264_encoder_encode(handle, (void **)&nals, &count, given ? &picture : NULL,
                                         &out);
    CHECK(size >= 0);
    if (count && output->size + (size_t)size <= sizeof(output->bytes)) {
        memcpy(output->bytes + output->size, nals->bytes, (size_t)size);
        output->size += (size_t)size;
    }
    output->pictures += count > 0;
    return size;
}

static void push(void *handle, int first, int last, int csp, struct output *output)
{
    uint8_t *memory = malloc(WIDTH * HEIGHT * 2);
    for (int i = first; i < last; i++) {
        for (int k = 0; k < WIDTH * HEIGHT * 2; k++)
            memory[k] = (uint8_t)((k * 31 + i * 5) ^ k >> 6);
        struct picture picture = noise(memory, csp, 0);
        picture.pts = i;
        encode(handle, &picture, output);
    }
    free(memory);
}

static void flush(void *handle, struct output *output)
{
    while (x264_encoder_delayed_frames(handle))
        encode(handle, NULL, output);
}

static void test_errno(const char *path)
{
    struct sidecar sidecar = {.lookahead = LOOKAHEAD, .misbehave_after = -1};
    struct output *output = calloc(1, sizeof(*output));
    begin_sidecar(&sidecar, path);
    void *handle = open_one("1");
    errno = 77;
    push(handle, 0, LOOKAHEAD, CSP_I420, output); /* all held back */
    CHECK(errno == 77);
    x264_encoder_close(handle);
    CHECK(errno == 77);
    end_sidecar(&sidecar, path);
    free(output);
}

/* Pictures that lie in another way than was announced are held back all the same. */
static void test_no_descriptor_left(const char *path)
{
    struct sidecar sidecar = {.lookahead = 0, .misbehave_after = -1};
    struct output *output = calloc(1, sizeof(*output));
    struct rlimit before;
    begin_sidecar(&sidecar, path);
    void *handle = open_one("1");
    push(handle, 0, 2, CSP_I420, output);
    getrlimit(RLIMIT_NOFILE, &before);
    const int next = dup(STDIN_FILENO);
    close(next);
    const struct rlimit few = {.rlim_cur = (rlim_t)next, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &few);
    push(handle, 2, PICTURES, CSP_NV12, output);
    setrlimit(RLIMIT_NOFILE, &before);
    flush(handle, output);
    CHECK(output->pictures == PICTURES);
    x264_encoder_close(handle);
    end_sidecar(&sidecar, path);
    free(output);
}

static int lines_of(const char *path)
{
    FILE *file = fopen(path, "r");
    int count = 0;
    for (int c; file && (c = fgetc(file)) != EOF;)
        count += c == '\n';
    if (file)
        fclose(file);
    return count;
}

/* What a child encodes by an encoder that it has inherited. */
static void misuse(void *handle)
{
    static struct output output;
    push(handle, 100, 100 + PICTURES, CSP_I420, &output);
    x264_encoder_close(handle);
}

static void test_a_child_harms_nobody(const char *path)
{
    struct output *outputs[2];
    for (int forked = 0; forked < 2; forked++) {
        struct sidecar sidecar = {.lookahead = LOOKAHEAD, .misbehave_after = -1};
        struct output *output = outputs[forked] = calloc(1, sizeof(*output));
        int ends[2];
        CHECK(pipe(ends) == 0);
        begin_sidecar(&sidecar, path);
        unlink(report);
        void *handle = open_one("1");
        push(handle, 0, 4, CSP_I420, output);
        const pid_t child = forked ? fork() : -1;
        if (child == 0) {
            char go;
            alarm(20);
            failures = 0;
            CHECK(read(ends[0], &go, 1) == 1);
            misuse(handle);
            _exit(failures != 0);
        }
        push(handle, 4, 7, CSP_I420, output); /* into slots that the child takes for free */
        int status = 0;
        CHECK(write(ends[1], "", 1) == 1);
        CHECK(!forked || (waitpid(child, &status, 0) == child && status == 0));
        push(handle, 7, PICTURES, CSP_I420, output);
        flush(handle, output);
        x264_encoder_close(handle);
        end_sidecar(&sidecar, path);
        CHECK(output->pictures == PICTURES && sidecar.frames == PICTURES);
        CHECK(sidecar.bye.frames == PICTURES && sidecar.bye.lost == 0);
        CHECK(lines_of(report) == 1);
        close(ends[0]);
        close(ends[1]);
    }
    CHECK(outputs[0]->size == outputs[1]->size);
    CHECK(memcmp(outputs[0]->bytes, outputs[1]->bytes, outputs[0]->size) == 0);
    free(outputs[0]);
    free(outputs[1]);
}

int main(void)
{
    char folder[] = "/tmp/idse-process-XXXXXX", path[64];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof(path), "%s/x", folder);
    snprintf(report, sizeof(report), "%s/report", folder);
    in_a_child(test_closed_standard_input);
    in_a_child(test_small_files_only);
    in_a_child(test_nobody_reads_errors);
    test_a_full_sidecar(path);
    if (find_x264()) {
        setenv("IDSE_MODE", "wait", 1);
        setenv("IDSE_REPORT", report, 1);
        test_errno(path);
        test_no_descriptor_left(path);
        test_a_child_harms_nobody(path);
    } else {
        fprintf(stderr, "no libx264.so.164: encoders are not tested here\n");
    }
    unlink(report);
    rmdir(folder);
    if (failures)
        fprintf(stderr, "%d checks failed\n", failures);
    return failures != 0;
}

#include "session.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "descriptor.h"
#include "report.h"

static const uint64_t RETRY = 1000000000; /* nanoseconds between attempts to connect */

const char *idse_session_init(struct session *session, const struct idse_hello *hello,
                              const char *path, const char *options, uint64_t timeout)
{
    memset(session, 0, sizeof(*session));
    session->socket = -1;
    session->state = SESSION_NEVER;
    if (!path || strlen(path) >= sizeof(session->path))
        return "IDSE_SOCKET is missing, or too long";
    if (strlen(options) >= sizeof(session->options))
        return "IDSE_OPTIONS is too long";
    session->state = SESSION_DOWN;
    session->hello = *hello;
    session->timeout = timeout;
    session->hello.options_length = (uint32_t)strlen(options);
    strcpy(session->path, path);
    strcpy(session->options, options);
    return NULL;
}

void idse_session_lose(struct session *session, enum session_state state, const char *why)
{
    if (session->socket >= 0)
        close(session->socket);
    session->socket = -1;
    session->state = state;
    session->next = idse_now() + RETRY;
    session->in_size = session->out_size = 0;
    idse_ring_drop(session->ring);
    session->ring = NULL;
    snprintf(session->why, sizeof(session->why), "%s", why);
}

static void message(struct idse_message *made, uint16_t type)
{
    memset(made, 0, sizeof(*made));
    made->magic = IDSE_MAGIC;
    made->version = IDSE_PROTOCOL_VERSION;
    made->type = type;
}

static void lost_by(struct session *session, const char *what)
{
    char why[128];
    snprintf(why, sizeof(why), "%s: %s", what, strerror(errno));
    idse_session_lose(session, SESSION_DOWN, why);
}

/* A sidecar that is full says so and hangs up before it has read the greeting: what it said is
 * there to be read. */
static void unsent(struct session *session, const char *what)
{
    if (session->state == SESSION_GREETING && (errno == EPIPE || errno == ECONNRESET))
        session->out_size = 0;
    else
        lost_by(session, what);
}

static void flush(struct session *session)
{
    while (session->out_size) {
        const ssize_t sent =
            send(session->socket, session->out, session->out_size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (sent < 0) {
            unsent(session, "the connection broke");
            return;
        }
        session->out_size -= (size_t)sent;
        memmove(session->out, session->out + sent, session->out_size);
    }
}

static bool queue(struct session *session, const void *bytes, size_t size)
{
    if (size > sizeof(session->out) - session->out_size)
        return false;
    memcpy(session->out + session->out_size, bytes, size);
    session->out_size += size;
    return true;
}

/* The first bytes of a connection, with the ring's descriptor. A new socket takes them at once. */
static void greet(struct session *session)
{
    struct idse_message hello;
    message(&hello, IDSE_HELLO);
    hello.body.hello = session->hello;
    struct iovec parts = {&hello, sizeof(hello)};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof(control));
    struct msghdr all = {.msg_iov = &parts, .msg_iovlen = 1};
    all.msg_control = &control;
    all.msg_controllen = sizeof(control);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&all);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &session->ring->file, sizeof(int));
    const ssize_t sent = sendmsg(session->socket, &all, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent != (ssize_t)sizeof(hello)) {
        errno = sent < 0 ? errno : EAGAIN;
        unsent(session, "the greeting");
        return;
    }
    queue(session, session->options, session->hello.options_length);
    flush(session);
}

static void attempt(struct session *session)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _Static_assert(sizeof(address.sun_path) == sizeof(session->path), "a path fits");
    memcpy(address.sun_path, session->path, sizeof(session->path));
    session->socket = idse_apart(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (session->socket < 0 ||
        connect(session->socket, (struct sockaddr *)&address, sizeof(address))) {
        lost_by(session, session->path);
        return;
    }
    session->ring = idse_ring_new(&session->hello);
    if (!session->ring) {
        idse_session_lose(session, SESSION_DOWN, "no memory for pictures");
        return;
    }
    memset(session->answers, 0, sizeof(session->answers));
    session->serial++;
    session->state = SESSION_GREETING;
    session->next = idse_now() + session->timeout;
    session->ended = false;
    greet(session);
}

static void welcome(struct session *session, struct idse_welcome *told)
{
    told->reason[sizeof(told->reason) - 1] = '\0';
    if (told->status == IDSE_OK && told->lookahead < session->hello.slots) {
        session->lookahead = told->lookahead;
        session->state = SESSION_UP;
    } else if (told->status == IDSE_OK) {
        idse_session_lose(session, SESSION_NEVER, "it wants to see more pictures than there are");
    } else {
        idse_session_lose(session, told->status == IDSE_BUSY ? SESSION_DOWN : SESSION_NEVER,
                          told->reason);
    }
}

/* False where the server says what it must not say now. */
static bool understand(struct session *session, struct idse_message *in)
{
    if (in->magic != IDSE_MAGIC || in->version != IDSE_PROTOCOL_VERSION)
        return false;
    if (in->type == IDSE_WELCOME && session->state == SESSION_GREETING) {
        welcome(session, &in->body.welcome);
        return true;
    }
    session->heard = idse_now();
    if (in->type == IDSE_WORKING && session->state == SESSION_UP)
        return true;
    const struct idse_offsets *told = &in->body.offsets;
    if (in->type != IDSE_OFFSETS || session->state != SESSION_UP ||
        told->slot >= session->hello.slots || told->status > IDSE_REFUSED)
        return false;
    struct answer *answer = &session->answers[told->slot];
    if (!answer->due || answer->index != told->index)
        return false;
    answer->due = false;
    answer->ready = true;
    answer->status = told->status;
    answer->flags = told->flags;
    return true;
}

static void read_messages(struct session *session)
{
    while (session->socket >= 0) {
        uint8_t *into = (uint8_t *)&session->in + session->in_size;
        const ssize_t got = recv(session->socket, into, sizeof(session->in) - session->in_size,
                                 MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (got < 0) {
            lost_by(session, "the connection broke");
            return;
        }
        if (got == 0) {
            idse_session_lose(session, SESSION_DOWN, "it closed the connection");
            return;
        }
        session->in_size += (size_t)got;
        if (session->in_size < sizeof(session->in))
            continue;
        session->in_size = 0;
        if (!understand(session, &session->in))
            idse_session_lose(session, SESSION_DOWN, "it said what nobody understands");
    }
}

void idse_session_step(struct session *session)
{
    if (session->state == SESSION_NEVER)
        return;
    if (session->state == SESSION_DOWN && idse_now() >= session->next)
        attempt(session);
    if (session->socket >= 0)
        flush(session);
    if (session->socket >= 0)
        read_messages(session);
    if (session->state == SESSION_GREETING && idse_now() >= session->next)
        idse_session_lose(session, SESSION_DOWN, "it did not answer the greeting");
}

void idse_session_wait(struct session *session, uint64_t until)
{
    const uint64_t now = idse_now();
    if (session->socket >= 0 && now < until) {
        struct pollfd ready = {.fd = session->socket, .events = POLLIN};
        if (session->out_size)
            ready.events |= POLLOUT;
        const uint64_t milliseconds = (until - now) / 1000000 + 1;
        poll(&ready, 1, milliseconds < 1000 ? (int)milliseconds : 1000);
    }
    if (session->socket >= 0)
        flush(session);
    if (session->socket >= 0)
        read_messages(session);
}

bool idse_session_show(struct session *session, int slot, const struct idse_frame *frame)
{
    if (session->state != SESSION_UP || session->ended)
        return false;
    struct idse_message made;
    message(&made, IDSE_FRAME);
    made.body.frame = *frame;
    made.body.frame.slot = (uint32_t)slot;
    if (!queue(session, &made, sizeof(made)))
        return false;
    session->answers[slot] = (struct answer){.index = frame->index, .due = true};
    flush(session);
    return session->state == SESSION_UP;
}

void idse_session_end(struct session *session)
{
    if (session->state != SESSION_UP || session->ended)
        return;
    struct idse_message made;
    message(&made, IDSE_END);
    session->ended = queue(session, &made, sizeof(made));
    flush(session);
}

void idse_session_close(struct session *session, const struct idse_bye *bye)
{
    if (session->state == SESSION_UP) {
        struct idse_message made;
        message(&made, IDSE_BYE);
        made.body.bye = *bye;
        if (queue(session, &made, sizeof(made)))
            flush(session);
        /* What is not read when a connection is closed takes away what was written to it. */
        if (session->socket >= 0)
            read_messages(session);
    }
    idse_session_lose(session, SESSION_NEVER, "");
}

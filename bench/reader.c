// Many readers of one stream in one process, costing about a microsecond per event: what is measured beside them is the server.
// reader <port> <count> <path, with {} for the group> <groups> <frozen> <authorization or ->
// Says "ready" when all heads have come. Then, on lines of stdin: "begin" starts a measurement, "end" prints it, "total" prints the
// sum since the start. The first <frozen> readers stop reading after the head. It ends with its stdin.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTING, ASKED, READING };
enum { OPENING_AT_ONCE = 64, SAMPLE = 16, DIGITS = 16, TAIL = 32, BUFFER = 1 << 18, BUCKETS = 4096 };

struct reader {
  int fd, state, tail_length;
  uint64_t frames;
  // What may be the beginning of a key that the next read completes.
  char tail[TAIL];
};

static const char KEY[] = "\"eventId\":\"";
static const int KEY_LENGTH = sizeof KEY - 1;
static char buffer[TAIL + BUFFER];
static uint64_t buckets[BUCKETS], sampled, slowest, frames, frames_before;
static struct reader *readers;
static int count, measuring;

static uint64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

// Steps of 1 in 64.
static int bucket_of(uint64_t us) {
  if (us < 128) return us;
  int power = 63 - __builtin_clzll(us);
  int bucket = 128 + (power - 7) * 64 + ((us >> (power - 6)) & 63);
  return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static uint64_t us_of(int bucket) {
  if (bucket < 128) return bucket;
  int power = (bucket - 128) / 64 + 7;
  return (1ull << power) | ((uint64_t)((bucket - 128) % 64) << (power - 6));
}

static uint64_t percentile(double share) {
  uint64_t seen = 0, wanted = share * sampled;
  for (int i = 0; i < BUCKETS; i++)
    if ((seen += buckets[i]) > wanted) return us_of(i);
  return slowest;
}

// An event's id begins with when it was sent.
static void sample(const char *digits) {
  char text[DIGITS + 1] = {0};
  memcpy(text, digits, DIGITS);
  uint64_t sent = strtoull(text, NULL, 16), now = now_us();
  if (now < sent || now - sent > 600000000) return;
  buckets[bucket_of(now - sent)]++;
  sampled++;
  if (now - sent > slowest) slowest = now - sent;
}

static void open_next(int epoll, int next, struct sockaddr_in *address) {
  struct reader *r = &readers[next];
  r->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (r->fd < 0) fail("socket");
  if (connect(r->fd, (void *)address, sizeof *address) < 0 && errno != EINPROGRESS) fail("connect");
  struct epoll_event event = {.events = EPOLLOUT, .data.ptr = r};
  epoll_ctl(epoll, EPOLL_CTL_ADD, r->fd, &event);
}

static void ask(int epoll, struct reader *r, const char *path, int groups, const char *authorization) {
  char request[1024];
  const char *mark = strstr(path, "{}");
  int before = mark ? (int)(mark - path) : (int)strlen(path);
  int length = snprintf(request, sizeof request, "GET %.*s", before, path);
  if (mark) length += snprintf(request + length, sizeof request - length, "%05d%s", (int)(r - readers) % groups, mark + 2);
  length += snprintf(request + length, sizeof request - length, " HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n");
  if (strcmp(authorization, "-"))
    length += snprintf(request + length, sizeof request - length, "Authorization: %s\r\n", authorization);
  length += snprintf(request + length, sizeof request - length, "\r\n");
  if (write(r->fd, request, length) != length) fail("request");
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = r};
  epoll_ctl(epoll, EPOLL_CTL_MOD, r->fd, &event);
  r->state = ASKED;
}

static void count_frames(struct reader *r, char *from, char *end) {
  char *at = from;
  for (char *found; (found = memmem(at, end - at, KEY, KEY_LENGTH)) && end - found >= KEY_LENGTH + DIGITS; at = found + KEY_LENGTH) {
    r->frames++;
    if (++frames % SAMPLE == 0 && measuring) sample(found + KEY_LENGTH);
  }
  int rest = end - at < KEY_LENGTH + DIGITS - 1 ? end - at : KEY_LENGTH + DIGITS - 1;
  memcpy(r->tail, end - rest, rest);
  r->tail_length = rest;
}

// 1 when this was the head of the answer.
static int take(int epoll, struct reader *r, int frozen) {
  int length = read(r->fd, buffer + TAIL, BUFFER);
  if (length < 0 && errno == EAGAIN) return 0;
  if (length <= 0) {
    fprintf(stderr, "reader %d: the server has closed\n", (int)(r - readers));
    exit(1);
  }
  char *from = buffer + TAIL, *end = from + length;
  if (r->state == READING) {
    from -= r->tail_length;
    memcpy(from, r->tail, r->tail_length);
    count_frames(r, from, end);
    return 0;
  }
  char *head = memmem(from, length, "\r\n\r\n", 4);
  if (strncmp(from, "HTTP/1.1 200", 12) || !head) {
    fprintf(stderr, "reader %d: %.200s\n", (int)(r - readers), from);
    exit(1);
  }
  r->state = READING;
  if (r - readers < frozen) epoll_ctl(epoll, EPOLL_CTL_DEL, r->fd, NULL);
  else count_frames(r, head + 4, end);
  return 1;
}

static void command(const char *line, int frozen) {
  if (!strncmp(line, "begin", 5)) {
    measuring = 1;
    frames_before = frames;
  } else if (!strncmp(line, "end", 3)) {
    measuring = 0;
    printf("{\"frames\":%lu,\"p50Us\":%lu,\"p99Us\":%lu,\"maxUs\":%lu}\n", frames - frames_before, percentile(.5), percentile(.99), slowest);
  } else if (!strncmp(line, "total", 5)) {
    uint64_t least = UINT64_MAX;
    for (int i = frozen; i < count; i++)
      if (readers[i].frames < least) least = readers[i].frames;
    printf("{\"frames\":%lu,\"least\":%lu}\n", frames, least);
  }
  fflush(stdout);
}

int main(int argc, char **argv) {
  if (argc != 7) return 2;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  count = atoi(argv[2]);
  int groups = atoi(argv[4]), frozen = atoi(argv[5]), next = 0, open = 0;
  readers = calloc(count, sizeof *readers);
  int epoll = epoll_create1(0);
  struct epoll_event events[512], input = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input);
  for (;;) {
    while (next < count && next - open < OPENING_AT_ONCE) open_next(epoll, next++, &address);
    int n = epoll_wait(epoll, events, 512, -1);
    for (int i = 0; i < n; i++) {
      struct reader *r = events[i].data.ptr;
      if (!r) {
        char line[64] = {0};
        if (read(STDIN_FILENO, line, sizeof line - 1) <= 0) return 0;
        command(line, frozen);
      } else if (r->state == CONNECTING) ask(epoll, r, argv[3], groups, argv[6]);
      else if (take(epoll, r, frozen) && ++open == count) {
        puts("ready");
        fflush(stdout);
      }
    }
  }
}

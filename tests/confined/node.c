/* A program called node that is none. Started as a PDS it listens and waits; started as --with-node starts it, it
   writes down all that it has, tries what it must not be able to do, leaves children behind, and answers or stays.
   What it does is told by files beside it: `stay`, `filter`. Built without a library of its own, so that it runs in
   any tree of files. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static char folder[400];

static const char *beside(const char *name) {
  static char path[500];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void copy(FILE *out, const char *key, const char *path) {
  char line[4096];
  FILE *in = fopen(path, "r");
  if (!in) {
    fprintf(out, "%s ! %s\n", key, strerror(errno));
    return;
  }
  while (fgets(line, sizeof line, in)) fprintf(out, "%s %s", key, line);
  fclose(in);
}

static void links(FILE *out, const char *key, const char *path) {
  DIR *dir = opendir(path);
  struct dirent *entry;
  while (dir && (entry = readdir(dir))) {
    char target[400];
    ssize_t length = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
    if (length <= 0) continue;
    target[length] = 0;
    /* The report and this very folder are its own. */
    if (!strstr(target, "/report.") && strcmp(key, "fd") == 0 && strstr(target, "/proc/") == target) continue;
    if (!strstr(target, "/report.")) fprintf(out, "%s %s %s\n", key, entry->d_name, target);
  }
  if (dir) closedir(dir);
}

static void pds(void) {
  int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  const char *port = getenv("PDS_PORT");
  addr.sin_port = htons(port ? atoi(port) : 3000);
  setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(s, (void *)&addr, sizeof addr) == 0) listen(s, 16);
  if (access(beside("filter"), F_OK) == 0) {
    struct sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog filter = {1, all};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) _exit(7);
  }
  /* Whoever started it waits for this. */
  printf("ready\n");
  fflush(stdout);
  for (;;) pause();
}

int main(int argc, char **argv) {
  ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
  if (length <= 0) snprintf(folder, sizeof folder, "%s", argv[0]);
  char *slash = strrchr(folder, '/');
  if (slash) *slash = 0;
  if (argc < 2 || strncmp(argv[1], "--max-old", 9)) pds();
  if (strcmp(argv[1], "--max-old-and-stay") == 0)
    for (;;) pause();

  char name[600];

  snprintf(name, sizeof name, "%s/report.XXXXXX", folder);
  int fd = mkstemp(name);
  FILE *out = fd < 0 ? stderr : fdopen(fd, "w");
  char bytes[256];
  ssize_t got = read(0, bytes, sizeof bytes);
  fprintf(out, "stdin %zd\n", got);
  fprintf(out, "session %d group %d pid %d parent %d\n", getsid(0), getpgrp(), getpid(), getppid());
  copy(out, "status", "/proc/self/status");
  copy(out, "cgroup", "/proc/self/cgroup");
  copy(out, "limits", "/proc/self/limits");
  copy(out, "oom", "/proc/self/oom_score_adj");
  links(out, "ns", "/proc/self/ns");
  links(out, "fd", "/proc/self/fd");
  for (char **v = environ; *v; v++) fprintf(out, "env %s\n", *v);
  int tty = open("/dev/tty", O_RDWR | O_NONBLOCK);
  fprintf(out, "tty %s\n", tty < 0 ? strerror(errno) : "OPEN");
  fprintf(out, "tiocsti %s\n", ioctl(tty < 0 ? 0 : tty, TIOCSTI, "x") ? strerror(errno) : "DONE");
  int disk = open(beside("disk"), O_RDWR);
  fprintf(out, "disk %s\n", disk < 0 ? strerror(errno) : "OPEN");
  fprintf(out, "kill %s\n", kill(1, SIGKILL) == 0 ? "SENT" : strerror(errno));
  fprintf(out, "setuid %s\n", setuid(0) ? strerror(errno) : "ROOT");
  /* Children of three kinds: in the group, in a session of their own, and orphans of that. */
  for (int kind = 0; kind < 3; kind++) {
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, 0);
      signal(SIGTERM, SIG_IGN);
      signal(SIGHUP, SIG_IGN);
      if (kind > 0) setsid();
      if (kind > 1 && fork()) _exit(0);
      close(0);
      close(1);
      close(2);
      execl(argv[0], argv[0], "--max-old-and-stay", NULL);
      _exit(1);
    }
  }
  fprintf(out, "end\n");
  fclose(out);
  if (access(beside("stay"), F_OK) == 0)
    for (;;) pause();
  /* They are there before it ends. */
  usleep(100000);
  printf("{\"ms\":1,\"status\":200}\n");
  return 0;
}

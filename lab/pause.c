/* The sandbox container of every pod: sleeps and reaps zombies. "pause -v" is what kubeadm's upgrade check runs. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(int s) { (void)s; _exit(0); }
static void reap(int s) {
  (void)s;
  while (waitpid(-1, 0, WNOHANG) > 0) {
  }
}

int main(int argc, char **argv) {
  struct sigaction a = {0};
  for (int i = 1; i < argc; i++)
    if (argv[i][0] == '-' && argv[i][1] == 'v') return write(1, "pause " PAUSE_VERSION "\n", sizeof "pause " PAUSE_VERSION) < 0;
  a.sa_handler = die;
  sigaction(SIGINT, &a, 0);
  sigaction(SIGTERM, &a, 0);
  a.sa_handler = reap;
  a.sa_flags = SA_NOCLDSTOP;
  sigaction(SIGCHLD, &a, 0);
  for (;;) pause();
}

#include "cli/signals.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

static sigset_t
ending_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    return set;
}

void
signals_block(void)
{
    sigset_t set = ending_signals();
    (void)sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)sigaction(SIGXFSZ, &ignore, NULL); /* a file that may not grow fails its writer, not the process */
}

int
signals_wait(void)
{
    sigset_t set = ending_signals();
    int number = 0;
    (void)sigwait(&set, &number);
    return number;
}

static int
wait_ms(const sigset_t *set, unsigned ms)
{
    const struct timespec patience = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    int number = sigtimedwait(set, NULL, &patience);
    return number > 0 ? number : 0;
}

int
signals_wait_or_reload_ms(unsigned ms)
{
    sigset_t set = ending_signals();
    (void)sigaddset(&set, SIGHUP);
    return wait_ms(&set, ms);
}

int
signals_wait_ms(unsigned ms)
{
    sigset_t set = ending_signals();
    return wait_ms(&set, ms);
}

/* Who forwards a signal to us and has it delivered to our process group too sends it twice, meaning it once.
 */
enum { SAME_SIGNAL_MS = 500 };

static struct timespec first_at;

static long
ms_since_first(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* async-signal-safe */
    return (long)(now.tv_sec - first_at.tv_sec) * 1000 + (now.tv_nsec - first_at.tv_nsec) / 1000000;
}

static void
end_now(int number)
{
    (void)number;
    if (ms_since_first() < SAME_SIGNAL_MS) {
        return;
    }
    static const char text[] = "dynabus: second signal, ending at once\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(1);
}

void
signals_exit_on_second(void)
{
    struct sigaction action = {.sa_handler = end_now, .sa_flags = SA_RESTART};
    (void)clock_gettime(CLOCK_MONOTONIC, &first_at);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    sigset_t set = ending_signals();
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* pause: the first process of a pod.
 *
 * It holds the pod's network and IPC namespaces by existing.  Where the containers of a pod share a PID namespace it
 * is PID 1 there, so orphans become its children and it collects them.  It ends with status 0 as soon as it is sent
 * SIGTERM or SIGINT.
 *
 * There is no libc and no signal handler: the three signals stay blocked and are fetched one by one.  A blocked signal
 * is kept for a PID 1 too, while an unblocked one without a handler would be dropped by the kernel (see
 * pid_namespaces(7), "The namespace init process").
 *
 * Built by tools/build_pause.py; the result lies beside this file.
 */

typedef unsigned long word;

#if defined(__x86_64__)
enum { RT_SIGPROCMASK = 14, WAIT4 = 61, RT_SIGTIMEDWAIT = 128, EXIT_GROUP = 231 };

static long call(long number, word a, word b, word c, word d)
{
    long result;
    register word fourth __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
enum { RT_SIGPROCMASK = 135, WAIT4 = 260, RT_SIGTIMEDWAIT = 137, EXIT_GROUP = 94 };

static long call(long number, word a, word b, word c, word d)
{
    register word x8 __asm__("x8") = (word)number;
    register word x0 __asm__("x0") = a;
    register word x1 __asm__("x1") = b;
    register word x2 __asm__("x2") = c;
    register word x3 __asm__("x3") = d;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return (long)x0;
}
#else
#error "pause knows the system calls of x86-64 and arm64 only"
#endif

enum { SIGINT = 2, SIGTERM = 15, SIGCHLD = 17 };
enum { SIG_BLOCK = 0, WNOHANG = 1 };

#define BIT(signal) (1UL << ((signal) - 1))

__attribute__((noreturn)) void _start(void)
{
    const word awaited = BIT(SIGINT) | BIT(SIGTERM) | BIT(SIGCHLD);

    call(RT_SIGPROCMASK, SIG_BLOCK, (word)&awaited, 0, sizeof awaited);
    for (;;) {
        /* One SIGCHLD may stand for many children. */
        while (call(WAIT4, (word)-1, 0, WNOHANG, 0) > 0)
            ;
        long signal = call(RT_SIGTIMEDWAIT, (word)&awaited, 0, 0, sizeof awaited);
        if (signal == SIGINT || signal == SIGTERM)
            break;
    }
    for (;;)
        call(EXIT_GROUP, 0, 0, 0, 0);
}

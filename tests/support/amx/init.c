/* The first process of the emulated machine (scripts/test_amx.sh): runs /check with ARGUMENT, passes on what it writes
 * to Bochs, whose port 0xe9 is a console, says how it ended, and switches the machine off. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONSOLE 0xe9

static void write_out(const char *text, ssize_t bytes) {
    for (ssize_t i = 0; i < bytes; i++) outb((unsigned char)text[i], CONSOLE);
}

static void run_check(const int ends[2]) {
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    execl("/check", "/check", ARGUMENT, (char *)NULL);
    perror("/check");
    _exit(127);
}

static void say_how_it_ended(int status) {
    char line[64];
    const int bytes = WIFSIGNALED(status) ? snprintf(line, sizeof line, "ended by signal %d\n", WTERMSIG(status))
                                          : snprintf(line, sizeof line, "exit status %d\n", WEXITSTATUS(status));
    write_out(line, bytes);
}

int main(void) {
    char text[4096];
    ssize_t bytes;
    int ends[2], status;
    if (ioperm(CONSOLE, 1, 1) || mount("proc", "/proc", "proc", 0, NULL) || pipe(ends)) return EXIT_FAILURE;
    const pid_t check = fork();
    if (check == 0) run_check(ends);
    close(ends[1]);
    while ((bytes = read(ends[0], text, sizeof text)) > 0) write_out(text, bytes);
    waitpid(check, &status, 0);
    say_how_it_ended(status);
    reboot(RB_POWER_OFF);
    return EXIT_SUCCESS;
}

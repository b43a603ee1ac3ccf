/* Failpoints: read once from the environment when the extension is loaded (see failpoint.h). */
#include "failpoint.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int rl_failpoint_armed = FP_NONE;
static long passes_left = 1;

static const char *const NAMES[FP_COUNT] = {
    "",   "L2", "C1", "C3", "C4", "C5", "C6", "C7", "D2", "D3", "D4", "N3", "N4", "N5",
    "R1", "R2", "W1", "W3", "H1", "H2", "H3", "H4", "H5", "H6", "H7", "H8", "H9",
    "A2", "A3", "B2", "W4", "L3", "E1", "F1", "F2", "G1",
};

void rl_failpoint_init(void) {
    const char *text = getenv("RINGLINE_FAILPOINT");
    if (!text)
        return;
    const char *colon = strchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : strlen(text);
    for (int i = 1; i < FP_COUNT; i++)
        if (strlen(NAMES[i]) == length && memcmp(NAMES[i], text, length) == 0)
            rl_failpoint_armed = i;
    passes_left = colon ? strtol(colon + 1, NULL, 10) : 1;
}

void rl_failpoint_hit(void) {
    if (--passes_left > 0)
        return;
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Named places at which a test may kill this process: RINGLINE_FAILPOINT="C4:3" raises SIGKILL at the third pass of C4.
 * One predictable branch when unarmed. The names are the steps of docs/shared-memory.md. */
#ifndef RINGLINE_FAILPOINT_H
#define RINGLINE_FAILPOINT_H

enum rl_step {
    FP_NONE, FP_L2, FP_C1, FP_C3, FP_C4, FP_C5, FP_C6, FP_C7, FP_D2, FP_D3, FP_D4, FP_N3, FP_N4, FP_N5, FP_R1, FP_R2,
    FP_W1, FP_W3, FP_H1, FP_H2, FP_H3, FP_H4, FP_H5, FP_H6, FP_H7, FP_H8, FP_H9, FP_A2, FP_A3, FP_B2, FP_W4, FP_L3, FP_E1,
    FP_F1, FP_F2, FP_G1, FP_COUNT
};

extern int rl_failpoint_armed;
void rl_failpoint_init(void);
void rl_failpoint_hit(void);

#define FAILPOINT(step)                                        \
    do {                                                       \
        if (__builtin_expect(rl_failpoint_armed == (step), 0)) \
            rl_failpoint_hit();                                \
    } while (0)

#endif

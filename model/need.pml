/* Heap full: how a node that waits for blocks gets them from neighbours that may drop (ring.c: rl_need, rl_help_needy; wait.c;
 * send.c: await_block). Beside ringline.pml because it is about several threads of one node, and about nothing else.
 *
 * W's heap of NB blocks lies, forwarded by F, in F's dropping channel c2, whose reader R reads nothing. WAITERS threads of W each
 * want one block (LARGE: memory of two blocks). F sleeps and must be asked; it drops up to the first block of a node in need each
 * time it looks. The GIL makes what a thread does between two sleeps one step where only private memory is concerned. No time:
 * a sleep ends only when somebody rings. */
#define AT(step)
#ifndef WAITERS
#define WAITERS 2
#endif
#ifdef LARGE
#define SIZE 2
#else
#define SIZE 1
#endif
#define NB (WAITERS * SIZE)

/* ---- shared ---- */
bool needs;                          /* W's bit                                              */
byte referenced = NB;                /* blocks of W with bit c2: all queued in c2            */
bool wspace, wmoved[WAITERS];        /* W's bell: SPACE; the sequence moved since that W1    */
bool finput, fmoved;                 /* F's bell                                             */
/* ---- private to W ---- */
byte room, returned, seen, needing, waiters, served, turn;
/* ---- kernel ---- */
bool asleep[WAITERS], fasleep;

inline B_w() {                       /* ring W's bell: all its threads sleep on one word */
  d_step { turn = 0; do :: turn < WAITERS -> wmoved[turn] = 1; turn++ :: else -> turn = 0; break od };
  d_step { turn = 0; do :: turn < WAITERS -> asleep[turn] = 0; turn++ :: else -> turn = 0; break od }
}
inline B_all() {
  AT(B2) fmoved = 1;
  AT(B3) fasleep = 0;
  B_w()
}
inline L3_need() {
#ifdef M_ONCE
  if
  :: needs
  :: else -> needs = 1; B_all()
  fi
#else
  AT(L3) needs = 1;
  B_all()
#endif
}
inline L1_loan() {                   /* got: memory for one message; what is free comes back first */
  AT(L1) d_step { if :: NB - referenced - returned > 0 -> room = room + (NB - referenced - returned); returned = NB - referenced :: else fi };
  if
  :: d_step { room >= SIZE; room = room - SIZE; got = 1 }
  :: else
  fi
}
inline still_needing() {
#ifndef M_REPEAT
  if
  :: d_step { seen != returned; seen = returned } -> L3_need()
  :: else
  fi
#else
  skip
#endif
}

proctype Waiter(byte me) {
  bool got;
  L1_loan();
  if
  :: got
  :: else ->
     d_step { needing++; seen = returned };
#ifdef M_SHARED
     if :: needing == 1 -> L3_need() :: else fi;
#else
     L3_need();
#endif
     do
     :: got -> break
     :: else ->
        AT(W1) d_step { waiters++; wspace = 1; wmoved[me] = 0 };
        L1_loan();                   /* W2 */
        if
        :: got
        :: else ->
           still_needing();
           AT(W3) d_step { if :: !wmoved[me] -> asleep[me] = 1 :: else fi };
           (!asleep[me])
        fi;
        AT(W4) d_step { waiters--; if :: waiters == 0 -> wspace = 0 :: else fi }
     od;
#ifdef M_SHARED
     needs = 0; needing = 0
#else
     atomic { needing--; if :: needing == 0 -> needs = 0 :: else fi }
#endif
  fi;
  served++
}

inline help() {                      /* to_drop, D1-D4: up to the first block of a node in need */
  if
  :: needs && referenced > 0 ->
     AT(D4) referenced--;
     if
     :: AT(B1) wspace -> B_w()
     :: else
     fi
  :: else
  fi
}
active proctype Helper() {           /* F: nothing to do but sleep */
end: do
  ::
#ifdef M_BEFORE
     help();
#endif
     AT(W1) d_step { finput = 1; fmoved = 0 };
#ifndef M_BEFORE
     help();
#endif
     AT(W3) d_step { if :: !fmoved -> fasleep = 1 :: else fi };
endsleep:
     (!fasleep);
     AT(W4) finput = 0
  od
}
init {
  byte i;
  do :: i < WAITERS -> run Waiter(i); i++ :: else -> break od;
  (served == WAITERS);
  assert(!needs && needing == 0)
}

/* The shared-memory protocol of node_runtime/ringline/shm/csrc, as it is implemented.
 *
 * AT(step) names the step of docs/shared-memory.md that the next statement is; tests/unit/test_model.py compares the names with
 * the C code. One statement or d_step is one access to shared memory. Memory is sequentially consistent here: what weaker
 * machines may do is argued at each SYNC POINT of the C code and tried by tests/litmus. There is no time: a sleep ends only when
 * somebody rings (in reality also after a second), so a lost wake-up is an invalid end state.
 *
 *     W --c0--> F --c2--> R2      W owns blocks 0..NBW-1, F the next NBF. W commits every message to c0 and c1,
 *     W --c1--> R1                F forwards W's block or sends one of its own.
 *
 * Any node may be killed before any step, or be stopped, suspected, fenced and killed; the host may be killed before any step
 * of a reclaim or of a flush. A dead node starts again. Settings: run.py. M_xxx takes one measure away: that must give an error. */
#define AT(step)
#ifndef CHS       /* bit c: channel c exists */
#define CHS 2
#endif
#ifndef CAP
#define CAP 1
#endif
#ifndef MSGS
#define MSGS 2
#endif
#ifndef NBW
#define NBW 2
#endif
#ifndef NBF
#define NBF 1
#endif
#ifndef CRASHES   /* kills of nodes, */
#define CRASHES 0
#endif
#ifndef HCRASHES  /* of the host, */
#define HCRASHES 0
#endif
#ifndef STOPS     /* nodes that hang and are suspected */
#define STOPS 0
#endif
#ifndef FLUSHES
#define FLUSHES 0
#endif
#ifndef VICTIMS   /* bit n: node n may be killed or hang */
#define VICTIMS 15
#endif
#define BLOCK 0
#define OLDEST 1  /* drop_oldest; latest is the same with CAP 1 */
#define NEWEST 2
#define DEADLINE 3
#ifndef POL0
#define POL0 BLOCK
#endif
#ifndef POL1
#define POL1 BLOCK
#endif
#ifndef POL2
#define POL2 BLOCK
#endif
#define POL(c)   (c == 0 -> POL0 : (c == 1 -> POL1 : POL2))
#define LOSES(c) (POL(c) == OLDEST || POL(c) == DEADLINE)
#define HAS(c)   (CHS & BIT(c))
#define BIT(x)   (1 << (x))
#define NC 3
#define NN 4
#define NB (NBW+NBF)
#define NOB 255
#define W 0
#define F 1
#define R1 2
#define R2 3
#define OWNER(b) (b < NBW -> W : F)
#define PROD(c)  (c == 2 -> F : W)
#define CONS(c)  (c == 0 -> F : (c == 1 -> R1 : R2))
#define LEN(c)   (head[c] - taken[c] - dropped[c])
#define SLOT(c,p) ((c)*CAP + ((p) % CAP))
#define OPEN 0
#define BUSY 1
#define HOSTED 2
#define FENCED 3
#define FREE 0
#define OWN 1
#define HOST 2
#define INPUT 1
#define SPACE 2

/* ---- shared memory ---- */
byte head[NC], mark[NC], end_[NC];                  /* end_ = end[c]                                      */
byte taken[NC], dropped[NC];                        /* ONE word                                           */
byte s_pos[NC*CAP], s_blk[NC*CAP];                  /* slot word w0, ONE word                             */
byte s_seq[NC*CAP], s_sec[NC*CAP], s_stamp[NC*CAP]; /* the rest of the descriptor                         */
byte refs[NB];
bool d_on[NC]; byte d_blk[NC], d_bef[NC];           /* drop, ONE word                                     */
byte d_sec[NC];                                     /* drop_second                                        */
byte gate[NN], flush[NN]; bool att[NN];             /* att: life is ATTACHED                              */
byte want[NN]; bool chg[NN];                        /* bell: flags; its sequence moved since the last W1  */
bool same[NN*NN];                                   /* private to the ringer: the bell is as it left it   */
#define MOVED(n) same[n] = 0; same[NN+n] = 0; same[2*NN+n] = 0; same[3*NN+n] = 0
/* ---- kernel ---- */
byte lock[NN]; bool asleep[NN], dead[NN], stopped[NN], ended[NN], hdead, hended, told[NN];
/* ---- ghosts ---- */
byte content[NB], last[NC], seen[NC], lost[NC], voided[NC], gseq, newest, floor_, ncr = CRASHES, nhc = HCRASHES, nst = STOPS, nfl = FLUSHES;
bool fbegun, fdone, young[MSGS+1];

/* ---- bell ---- */
inline B_ring(me, n, flag) {
  if
  :: AT(B1) (want[n] & flag) && !same[me*NN+n] ->
     AT(B2) d_step { chg[n] = 1; MOVED(n); same[me*NN+n] = 1 };
     AT(B3) asleep[n] = 0
  :: else
  fi
}
inline B_always(n) {
  AT(B2) d_step { chg[n] = 1; MOVED(n) };
  AT(B3) asleep[n] = 0
}
#ifdef M_W1
#define MOVED1(n)
#else
#define MOVED1(n) MOVED(n)
#endif
inline W1_arm(n, flag) { AT(W1) d_step { want[n] = flag; chg[n] = 0; MOVED1(n) } }
inline W3_sleep(n) {
  AT(W3) d_step { if :: !chg[n] -> asleep[n] = 1 :: else fi };
  (!asleep[n])
}
inline W4_disarm(n) { AT(W4) d_step { want[n] = 0; MOVED(n) } }

/* ---- gate ---- */
inline C1_enter(n) {
  do
  :: AT(C1) d_step { gate[n] == OPEN; gate[n] = BUSY } -> break
  :: gate[n] == FENCED -> goto fenced
  od                                   /* HOSTED: neither; the futex on the word */
}
inline C6_leave(n) {
#ifdef M_FENCE
  AT(C6) gate[n] = OPEN
#else
  AT(C6) d_step { assert(gate[n] == BUSY); gate[n] = OPEN }
#endif
}

/* ---- release ---- */
inline R_bit(me, c, y) {
#ifdef M_RELEASE                       /* not one instruction: load, then store */
  d_step { z = refs[y] == BIT(c); lt = refs[y] & ~BIT(c) };
  AT(R1) d_step { refs[y] = lt; lt = 0 };
#else
  AT(R1) d_step { z = refs[y] == BIT(c); refs[y] = refs[y] & ~BIT(c) };
#endif
  if
  :: z -> z = 0; AT(R2) B_ring(me, OWNER(y), SPACE)
  :: else
  fi
}
inline R_unref(me, c, one, two) {
  R_bit(me, c, one);
#ifdef SECOND
  if :: two != NOB -> R_bit(me, c, two) :: else fi
#endif
}

/* ---- drop, inside the gate ---- */
inline D_oldest(c) {                   /* x, y: the blocks */
  AT(D1) d_step { lt = taken[c]; ld = dropped[c] };
  if
  :: head[c] == lt + ld
  :: else ->
     d_step { x = s_blk[SLOT(c,lt+ld)]; assert(s_pos[SLOT(c,lt+ld)] == lt + ld || taken[c] != lt) };
#ifdef SECOND
     y = s_sec[SLOT(c,lt+ld)];
     d_sec[c] = y;
#endif
#ifndef M_INTENT
     AT(D2) d_step { d_on[c] = 1; d_blk[c] = x; d_bef[c] = ld };
#endif
     if
#ifdef M_CAS
     :: AT(D3) dropped[c] = ld + 1; R_unref(PROD(c), c, x, y)
#else
     :: AT(D3) d_step { taken[c] == lt && dropped[c] == ld; dropped[c]++ }; R_unref(PROD(c), c, x, y)
     :: else
#endif
     fi;
#ifndef M_INTENT
     AT(D4) d_step { d_on[c] = 0; d_blk[c] = 0; d_bef[c] = 0 };
#endif
     d_step { x = 0; y = NOB }
  fi;
  d_step { lt = 0; ld = 0 }
}
inline C2_clear(c) {
  do
  :: AT(C2) LEN(c) < CAP -> break
  :: else -> D_oldest(c)
  od
}

/* ---- commit ---- */
#define FLUSHED(c) (taken[c] + dropped[c] < mark[c])
#define ROOM(c)    (LEN(c) < CAP || FLUSHED(c))
inline C0_room(n, c) {
  if
  :: POL(c) != BLOCK
  :: else ->
     do
     :: AT(C0) ROOM(c) -> break
     :: else ->
        W1_arm(n, SPACE);
#ifdef M_RECHECK
        W3_sleep(n);
#else
        if
        :: AT(W2) ROOM(c) || gate[n] == FENCED
        :: else -> W3_sleep(n)
        fi;
#endif
        W4_disarm(n);
        if :: gate[n] == FENCED -> goto fenced :: else fi
     od
  fi
}
inline C3_slot(c) {                    /* w0 last */
#ifdef M_SLOT
  AT(C3) d_step { s_pos[SLOT(c,head[c])] = head[c]; s_blk[SLOT(c,head[c])] = b };
  d_step { s_seq[SLOT(c,head[c])] = s; s_stamp[SLOT(c,head[c])] = st };
  s_sec[SLOT(c,head[c])] = m
#else
  d_step { s_seq[SLOT(c,head[c])] = s; s_stamp[SLOT(c,head[c])] = st };
#ifdef SECOND
  s_sec[SLOT(c,head[c])] = m;
#endif
  AT(C3) d_step { s_pos[SLOT(c,head[c])] = head[c]; s_blk[SLOT(c,head[c])] = b }
#endif
}
inline C4_refs(bits) {
  AT(C4) d_step { assert((refs[b] & (bits)) == 0); refs[b] = refs[b] | (bits) };
#ifdef SECOND
  if
  :: m != NOB -> d_step { assert(refs[m] == 0); refs[m] = bits }
  :: else
  fi
#endif
}
inline C5_publish(n, c) {              /* a fenced node publishes nothing */
  AT(C5) d_step { assert(gate[n] == BUSY); head[c]++; if :: c == 0 -> newest = s :: else fi }
}

/* ---- loan ---- */
inline L_scan(lo, hi, other) {         /* x: a free block, or hi */
  x = lo;
  do
  :: x < hi && refs[x] == 0 && x != other -> AT(L1) break
  :: x < hi && (refs[x] != 0 || x == other) -> x++
  :: x == hi -> break
  od
}
/* Heap full: the oldest messages of one's own dropping channels go until a block is free. The scan that follows each drop. */
inline L_drop(n, lo, hi, other) {
  if
  :: (n == W && ((HAS(0) && LOSES(0)) || (HAS(1) && LOSES(1)))) || (n == F && HAS(2) && LOSES(2)) ->
     C1_enter(n);
     do
#if CHS & 1
     :: n == W && LOSES(0) && LEN(0) > 0 -> D_oldest(0); L_scan(lo, hi, other); if :: x < hi -> break :: else fi
#endif
#if CHS & 2
     :: n == W && LOSES(1) && LEN(1) > 0 -> D_oldest(1); L_scan(lo, hi, other); if :: x < hi -> break :: else fi
#endif
#if CHS & 4
     :: n == F && LOSES(2) && LEN(2) > 0 -> D_oldest(2); L_scan(lo, hi, other); if :: x < hi -> break :: else fi
#endif
     :: else -> L_scan(lo, hi, other); break
     od;
     C6_leave(n)
  :: else -> x = hi
  fi
}
inline L_loan(n, lo, hi, other, alldrop) { /* x: a block; NOB: none, and every channel may drop the message */
  do
  :: L_scan(lo, hi, other);
     if
     :: x < hi -> AT(L2) break
     :: else ->
        x = 0; L_drop(n, lo, hi, other);
        if
        :: x < hi -> break
        :: x >= hi && alldrop -> x = NOB; break
        :: else ->
           W1_arm(n, SPACE);
           L_scan(lo, hi, other);      /* W2 */
           if
           :: x == hi && gate[n] != FENCED -> W3_sleep(n)
           :: else
           fi;
           W4_disarm(n);
           if :: gate[n] == FENCED -> goto fenced :: else fi;
           x = 0
        fi
     fi
  od
}
/* ---- next: got, b, s, m, st ---- */
#define STALE(c,p,t) (p < mark[c] || t < flush[PROD(c)])
inline N_next(n, c) {
  do
  :: gate[n] == FENCED -> goto fenced                            /* N1 */
  :: else ->
     AT(N1) d_step { lt = taken[c]; ld = dropped[c] };
     if
     :: d_step { head[c] == lt + ld; lt = 0; ld = 0; got = 0 } -> break
     :: else ->
        AT(N2) d_step { b = s_blk[SLOT(c,lt+ld)]; z = s_pos[SLOT(c,lt+ld)] == lt + ld };
        d_step { s = s_seq[SLOT(c,lt+ld)]; st = s_stamp[SLOT(c,lt+ld)] };
#ifdef SECOND
        m = s_sec[SLOT(c,lt+ld)];
#endif
        if
#ifdef M_CAS
        :: AT(N3) d_step { taken[c] = lt + 1; got = 1; lost[c]++ }
#else
        :: AT(N3) d_step { taken[c] == lt && dropped[c] == ld; assert(z); taken[c]++; got = 1; lost[c]++ }
        :: else
#endif
        fi;
        z = 0;
        if
        :: got ->
           AT(N4) d_step { assert(refs[b] & BIT(c)); assert(content[b] == s); assert(m == NOB || content[m] == s) };
           AT(N5) B_ring(n, PROD(c), SPACE);
           if
           :: AT(N6) d_step { STALE(c, lt+ld, st); assert(!young[s] || c == 2); lost[c]--; voided[c]++; got = 0 };
              R_unref(n, c, b, m)
           :: d_step { !STALE(c, lt+ld, st) && POL(c) == DEADLINE; lost[c]--; voided[c]++; got = 0 };
              R_unref(n, c, b, m)
           :: d_step { !STALE(c, lt+ld, st); lost[c]--; seen[c]++;
                       assert(s > last[c]); last[c] = s;
                       assert(!fdone || young[s] || c == 1 || s > floor_) };
              lt = 0; ld = 0; break
           fi
        :: else
        fi;
        d_step { b = NOB; s = 0; st = 0; m = NOB; lt = 0; ld = 0 }
     fi
  od
}
#define ENDED(c) (end_[c] != 0 && taken[c] + dropped[c] >= end_[c] - 1)
inline R_release(n, c, y, y2, t) {
  d_step { assert(refs[y] & BIT(c)); assert(content[y] == t); assert(y2 == NOB || (content[y2] == t && (refs[y2] & BIT(c)))) };
  R_unref(n, c, y, y2)
}
inline W_input(n, c) {                 /* wait until there is input, or the stream is over */
  W1_arm(n, INPUT);
#ifdef M_RECHECK
  W3_sleep(n);
#else
  if
  :: AT(W2) LEN(c) > 0 || end_[c] != 0 || gate[n] == FENCED
  :: else -> W3_sleep(n)
  fi;
#endif
  W4_disarm(n)
}

/* ---- attach, end ---- */
inline A_attach(n) {
  do
  :: AT(A1) atomic { lock[n] == FREE && !hended && !dead[n]; lock[n] = OWN } ->
     if
     :: AT(A2) d_step { !att[n]; att[n] = 1 } -> break
     :: else -> lock[n] = FREE; (!att[n] || dead[n])
     fi
  od;
  AT(A3) atomic { if :: want[n] != 0 -> want[n] = 0; MOVED(n) :: else fi }   /* flags of the last incarnation */
}
inline E_end(c) {
  if
  :: end_[c] == 0 -> AT(E1) end_[c] = head[c] + 1; B_always(CONS(c))
  :: else
  fi
}
inline over(n) { d_step { ended[n] = 1; lock[n] = FREE; b = NOB; s = 0 } }
/* A process that was killed, or ended because it was fenced: the kernel drops its lock and its private memory is gone. */
#define GONE(n) lock[n] = (lock[n] == OWN -> FREE : lock[n])

active proctype NodeW() provided (!stopped[W]) {
  byte b = NOB, x, y = NOB, s, m = NOB, lt, ld, bits, st; bool z;
up: {
    A_attach(W);
    do
    :: gseq < MSGS ->
       L_loan(W, 0, NBW, NOB, (!HAS(0) || POL0 != BLOCK) && (!HAS(1) || POL1 != BLOCK));
       atomic { b = x; x = 0 };
       if
       :: b == NOB -> gseq++             /* dropped: heap full */
       :: else ->
#ifdef SECOND
          L_loan(W, 0, NBW, b, false);
          atomic { m = x; x = 0 };
#endif
          d_step { s = gseq + 1; gseq = s; content[b] = s; if :: m != NOB -> content[m] = s :: else fi; young[s] = fdone };
#if CHS & 1
          C0_room(W, 0);
#endif
#if CHS & 2
          C0_room(W, 1);
#endif
#if CHS & 1
          if :: AT(C0) POL0 == NEWEST && !ROOM(0) :: else -> bits = bits | 1 fi;
#endif
#if CHS & 2
          if :: AT(C0) POL1 == NEWEST && !ROOM(1) :: else -> bits = bits | 2 fi;
#endif
          if
          :: bits == 0                 /* refused by all: the block was never shared */
          :: else ->
             st = flush[W];
             C1_enter(W);
#if CHS & 1
             if :: bits & 1 -> C2_clear(0); C3_slot(0) :: else fi;
#endif
#if CHS & 2
             if :: bits & 2 -> C2_clear(1); C3_slot(1) :: else fi;
#endif
#ifndef M_HEADFIRST
             C4_refs(bits);
#endif
#if CHS & 1
             if :: bits & 1 -> C5_publish(W, 0) :: else fi;
#endif
#if CHS & 2
             if :: bits & 2 -> C5_publish(W, 1) :: else fi;
#endif
#ifdef M_HEADFIRST
             C4_refs(bits);
#endif
             C6_leave(W);
#if CHS & 1
             if :: bits & 1 -> AT(C7) B_ring(W, F, INPUT) :: else fi;
#endif
#if CHS & 2
             if :: bits & 2 -> AT(C7) B_ring(W, R1, INPUT) :: else fi;
#endif
          fi
       fi;
       d_step { b = NOB; s = 0; m = NOB; bits = 0; st = 0 }
    :: else -> break
    od;
#if CHS & 1
    E_end(0);
#endif
#if CHS & 2
    E_end(1);
#endif
    over(W);
    goto out;
fenced: atomic { told[W] = 1; dead[W] = 1 };
    (false)
  } unless { d_step { dead[W]; GONE(W); b = NOB; s = 0; x = 0; y = NOB; m = NOB; lt = 0; ld = 0; bits = 0; st = 0; z = 0 } };
  (!dead[W]); goto up;
out: skip
}

#if CHS & 1
active proctype NodeF() provided (!stopped[F]) {
  byte b = NOB, x, y = NOB, s, m = NOB, lt, ld, st, hb = NOB, hm = NOB, my; bool z, got, own;
up: {
    A_attach(F);
    do
    :: my = flush[F];                  /* stamp(), before an input is taken */
       N_next(F, 0);
       if
       :: got ->
          d_step { got = 0; hb = b; hm = m; m = NOB; st = my };
#if CHS & 4
          if
          :: own = 1; L_loan(F, NBW, NB, NOB, POL2 != BLOCK); atomic { b = x; x = 0; if :: b != NOB -> content[b] = s :: else fi }
#ifdef SECOND
          :: own = 0; L_loan(F, NBW, NB, NOB, false); atomic { m = x; x = 0; content[m] = s }
#else
          :: own = 0
#endif
          fi;
          C0_room(F, 2);
          if
          :: b == NOB || (POL2 == NEWEST && !ROOM(2))
          :: else ->
#ifdef M_FORWARD
             if :: !own -> R_release(F, 0, hb, hm, s) :: else fi;
#endif
             C1_enter(F);
             C2_clear(2); C3_slot(2); C4_refs(4); C5_publish(F, 2);
             C6_leave(F);
             AT(C7) B_ring(F, R2, INPUT)
          fi;
#endif
#ifdef M_FORWARD
          if :: own || !HAS(2) -> R_release(F, 0, hb, hm, s) :: else fi;
#else
          R_release(F, 0, hb, hm, s);
#endif
          d_step { b = NOB; s = 0; hb = NOB; hm = NOB; m = NOB; own = 0; st = 0; my = 0 }
       :: else ->
          if
          :: ENDED(0) -> break
          :: else -> W_input(F, 0)
          fi
       fi
    od;
#if CHS & 4
    E_end(2);
#endif
    over(F);
    goto out;
fenced: atomic { told[F] = 1; dead[F] = 1 };
    (false)
  } unless { d_step { dead[F]; GONE(F); b = NOB; s = 0; x = 0; y = NOB; m = NOB; lt = 0; ld = 0; hb = NOB; hm = NOB; z = 0; got = 0; own = 0; st = 0; my = 0 } };
  (!dead[F]); goto up;
out: skip
}
#endif

#ifdef HOLD2                           /* a reader that holds two messages and releases them in any order */
#define FULL (hb != NOB && gb != NOB)
#else
#define FULL (hb != NOB)
#endif
inline reading(n, c) {
    A_attach(n);
    do
    :: !FULL ->
       N_next(n, c);
       if
       :: got -> d_step { got = 0; if :: hb == NOB -> hb = b; hm = m; hs = s :: else -> gb = b; gm = m; gs = s fi; b = NOB; m = NOB; s = 0; st = 0 }
       :: else ->
          if
          :: hb != NOB -> R_release(n, c, hb, hm, hs); d_step { hb = NOB; hm = NOB; hs = 0 }
          :: gb != NOB -> R_release(n, c, gb, gm, gs); d_step { gb = NOB; gm = NOB; gs = 0 }
          :: hb == NOB && gb == NOB && ENDED(c) -> break
          :: hb == NOB && gb == NOB && !ENDED(c) -> W_input(n, c)
          fi
       fi
    :: hb != NOB -> R_release(n, c, hb, hm, hs); d_step { hb = NOB; hm = NOB; hs = 0 }
    :: gb != NOB -> R_release(n, c, gb, gm, gs); d_step { gb = NOB; gm = NOB; gs = 0 }
    od;
    over(n)
}
#define READER(n) byte b = NOB, s, m = NOB, lt, ld, st, hb = NOB, hm = NOB, hs, gb = NOB, gm = NOB, gs; bool z, got
#define FORGET(n) d_step { dead[n]; GONE(n); b = NOB; s = 0; m = NOB; lt = 0; ld = 0; st = 0; hb = NOB; hm = NOB; hs = 0; gb = NOB; gm = NOB; gs = 0; z = 0; got = 0 }
#if CHS & 2
active proctype NodeR1() provided (!stopped[R1]) {
  READER(R1);
up: { reading(R1, 1); goto out;
fenced: atomic { told[R1] = 1; dead[R1] = 1 }; (false) } unless { FORGET(R1) };
  (!dead[R1]); goto up;
out: skip
}
#endif
#if CHS & 4
active proctype NodeR2() provided (!stopped[R2]) {
  READER(R2);
up: { reading(R2, 2); goto out;
fenced: atomic { told[R2] = 1; dead[R2] = 1 }; (false) } unless { FORGET(R2) };
  (!dead[R2]); goto up;
out: skip
}
#endif

/* ---- host ---- */
inline ring_all() {
#ifndef M_RINGALL
  n = 0;
  do
  :: n < NN -> d_step { chg[n] = 1; MOVED(n) }; d_step { asleep[n] = 0; n++ }
  :: else -> break
  od;
#endif
  n = 0
}
inline clear(c, y) {
  if :: y != NOB -> refs[y] = refs[y] & ~BIT(c) :: else fi
}
inline H_producer(c) {                 /* n as producer of c; its reader may live */
#ifndef M_INTENT
  if
  :: d_on[c] ->
     if
     :: dropped[c] != d_bef[c] -> clear(c, d_blk[c]);
#ifdef SECOND
        clear(c, d_sec[c])
#endif
     :: else
     fi;
     AT(H3) d_step { d_on[c] = 0; d_blk[c] = 0; d_bef[c] = 0 }
  :: else
  fi;
#endif
#ifndef M_REPAIR
  if
  :: s_pos[SLOT(c,head[c])] == head[c] -> AT(H4) clear(c, s_blk[SLOT(c,head[c])]);
#ifdef SECOND
     clear(c, s_sec[SLOT(c,head[c])])
#endif
  :: else
  fi;
#endif
  skip
}
#ifdef SECOND
#define NAMES(i,y) (s_blk[i] == y || s_sec[i] == y)
#else
#define NAMES(i,y) (s_blk[i] == y)
#endif
#define AT1(c,y,i) (LEN(c) > i && NAMES(SLOT(c,taken[c]+dropped[c]+i),y))
#define QUEUED(c,y) (AT1(c,y,0) || AT1(c,y,1))
inline H_consumer(c, n_) {             /* n_ as reader of c: its producer may live. aside: it sits in a commit */
  cand = 0; y = 0;                     /* candidates, before the gate is closed */
  do
  :: y < NB -> d_step { if :: refs[y] & BIT(c) -> cand = cand | BIT(y) :: else fi; y++ }
  :: else -> y = 0; break
  od;
#ifdef M_GATE
  if :: true -> shut = 0
#else
  if
  :: gate[PROD(c)] == FENCED || gate[PROD(c)] == HOSTED -> shut = 0
  :: AT(H5) d_step { gate[PROD(c)] == OPEN || (gate[PROD(c)] == BUSY && lock[PROD(c)] != OWN); gate[PROD(c)] = HOSTED; shut = 1 }
  :: gate[PROD(c)] == BUSY && lock[PROD(c)] == OWN -> aside = 1
#endif
  fi;
  if
  :: aside
  :: else ->
     if                                /* keep what is queued, or drop it */
     :: skip
     :: LEN(c) > 0 ->                  /* its blocks are candidates too: some may have come since */
#ifndef M_COLLECT
        d_step { do :: y < NB -> if :: QUEUED(c, y) -> cand = cand | BIT(y) :: else fi; y++ :: else -> y = 0; break od };
#endif
        d_step { dropped[c] = dropped[c] + LEN(c) }
     fi;
     do
#ifdef M_GATE
     :: y < NB -> if :: (cand & BIT(y)) -> if :: QUEUED(c, y) :: else -> refs[y] = refs[y] & ~BIT(c) fi :: else fi; y++
#else
     :: AT(H6) y < NB -> d_step { if :: (cand & BIT(y)) && !QUEUED(c, y) -> refs[y] = refs[y] & ~BIT(c) :: else fi; y++ }
#endif
     :: else -> y = 0; break
     od;
     if :: shut -> gate[PROD(c)] = OPEN; shut = 0 :: else fi
  fi;
  cand = 0
}
inline G_fence(k) {                    /* suspected, not dead */
  AT(G1) skip;                         /* kill[n] = epoch: read by the zygote, which kills */
#ifdef M_FENCE                         /* look, then act */
  (gate[k] == OPEN); gate[k] = FENCED;
#else
  do
  :: d_step { gate[k] == OPEN; gate[k] = FENCED } -> break
  :: gate[k] == FENCED -> break
  :: gate[k] == BUSY -> break          /* later, or not at all: it is killed */
  :: ended[k] || !att[k] || dead[k] -> break
  od;
#endif
  told[k] = 1
}
#define DOWN(k)   (att[k] && lock[k] == FREE && !ended[k])
#define SUSPECT(k) (lock[k] == OWN && att[k] && told[k])
#define ALL_ENDED (ended[W] && (ended[F] || !HAS(0)) && (ended[R1] || !HAS(1)) && (ended[R2] || !HAS(2)))
#define RESTART(k) d_step { dead[k] && lock[k] != OWN && !ended[k]; dead[k] = 0; stopped[k] = 0; told[k] = 0 }

active proctype HostP() {
  byte n, v = NOB, y, cand; bool aside, shut;
up: {
    if                                 /* host start: its predecessor may have died anywhere */
    :: nhc == HCRASHES
    :: else ->
       do
       :: n < NN -> d_step { if :: gate[n] == HOSTED -> gate[n] = OPEN :: else fi; if :: gate[n] == FENCED -> told[n] = 1 :: else fi; n++ }
       :: else -> break
       od;
       ring_all();
       if :: fbegun && !fdone -> fbegun = 0 :: else fi
    fi;
    do
    :: v == NOB && DOWN(W)   -> v = W
    :: v == NOB && DOWN(F)   -> v = F
    :: v == NOB && DOWN(R1) -> v = R1
    :: v == NOB && DOWN(R2) -> v = R2
#ifdef M_SUSPECT                       /* reclaim before the lock has dropped */
    :: v == NOB && SUSPECT(W) && !dead[W] -> v = W
    :: v == NOB && SUSPECT(R1) && !dead[R1] -> v = R1
#endif
#if STOPS > 0
    :: v == NOB && stopped[W] && !told[W]  -> G_fence(W)
    :: v == NOB && stopped[F] && !told[F]  -> G_fence(F)
    :: v == NOB && stopped[R1] && !told[R1] -> G_fence(R1)
    :: v == NOB && stopped[R2] && !told[R2] -> G_fence(R2)
#endif
#if FLUSHES > 0                        /* of F: its input, itself, what it sends */
    :: v == NOB && nfl > 0 && !fbegun ->
       d_step { fbegun = 1; nfl--; floor_ = newest };
#ifndef M_STAMP
       AT(F1) flush[F]++;
#endif
       mark[0] = head[0];
#if CHS & 4
       AT(F2) mark[2] = head[2];
#endif
       fdone = 1;
       B_always(F); B_always(W);
#if CHS & 4
       B_always(R2)
#endif
#endif
    :: v == NOB && ALL_ENDED && (nfl == 0 || fdone) -> break
    :: v != NOB ->
       if
       :: AT(H1) d_step { lock[v] == FREE; lock[v] = HOST }
#ifdef M_SUSPECT
       :: lock[v] == OWN
#endif
       fi;
       AT(H2) skip;
       if
       :: v == W  -> if :: HAS(0) -> H_producer(0) :: else fi; if :: HAS(1) -> H_producer(1) :: else fi
       :: v == F  -> if :: HAS(2) -> H_producer(2) :: else fi; H_consumer(0, F)
       :: v == R1 -> H_consumer(1, R1)
       :: v == R2 -> H_consumer(2, R2)
       fi;
       if
       :: aside -> aside = 0
       :: else -> gate[v] = OPEN; AT(H7) att[v] = 0
       fi;
       AT(H8) ring_all();
       AT(H9) d_step { if :: lock[v] == HOST -> lock[v] = FREE :: else fi; told[v] = 0; v = NOB }
    od;
    atomic {                           /* quiet: nothing leaked, every message accounted for */
      hended = 1;
      n = 0; do :: n < NB -> assert(refs[n] == 0); n++ :: else -> break od;
      n = 0; do :: n < NC -> assert(head[n] == taken[n] + dropped[n]);
                   assert(taken[n] == seen[n] + voided[n] + lost[n]);
                   assert(lost[n] <= (CRASHES - ncr) + (STOPS - nst));
                   assert(LOSES(n) || dropped[n] == 0 || mark[n] > 0 || ncr < CRASHES || nst < STOPS); n++ :: else -> break od;
      n = 0 }
  } unless { hdead };
  if
  :: hended
  :: else -> d_step { hdead = 0; n = 0; v = NOB; y = 0; cand = 0; aside = 0; shut = 0 }; goto up
  fi
}
#define ALIVE(k) (att[k] && !dead[k] && !ended[k])
#define LOST_MEMORY(k) asleep[k] = 0; chg[k] = 0; same[k*NN] = 0; same[k*NN+1] = 0; same[k*NN+2] = 0; same[k*NN+3] = 0
#define KILL(k) d_step { ncr > 0 && (VICTIMS & BIT(k)) && ALIVE(k); dead[k] = 1; stopped[k] = 0; LOST_MEMORY(k); ncr-- }
#define STOP(k) d_step { nst > 0 && (VICTIMS & BIT(k)) && ALIVE(k) && !stopped[k]; stopped[k] = 1; nst-- }
#define GO_ON(k) d_step { stopped[k]; stopped[k] = 0 }
#define EXECUTE(k) d_step { told[k] && ALIVE(k); dead[k] = 1; stopped[k] = 0; LOST_MEMORY(k) }
active proctype World() {              /* what happens to processes; a dead one is started again */
end: do
  :: KILL(W) :: KILL(F) :: KILL(R1) :: KILL(R2)
  :: RESTART(W) :: RESTART(F) :: RESTART(R1) :: RESTART(R2)
#if STOPS > 0
  :: STOP(W) :: STOP(F) :: STOP(R1) :: STOP(R2)
  :: GO_ON(W) :: GO_ON(F) :: GO_ON(R1) :: GO_ON(R2)
  :: EXECUTE(W) :: EXECUTE(F) :: EXECUTE(R1) :: EXECUTE(R2)
#endif
  :: d_step { nhc > 0 && !hended && !hdead; hdead = 1; nhc--;
              lock[W] = (lock[W] == HOST -> FREE : lock[W]); lock[F] = (lock[F] == HOST -> FREE : lock[F]);
              lock[R1] = (lock[R1] == HOST -> FREE : lock[R1]); lock[R2] = (lock[R2] == HOST -> FREE : lock[R2]) }
  od
}

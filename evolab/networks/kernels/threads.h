/* Rows spread over threads.
 *
 * Whoever is free takes the next row, the caller among them, so nobody waits for a helper that has not
 * begun. On a busy machine a helper loses its core in the middle of a row, for milliseconds: after a pass
 * that took longer than it would have taken alone, the caller works alone for a while, twice as long each
 * time that it happens again. Whoever waits looks out for a while before it sleeps, as passes follow one
 * another within microseconds, and no longer, as others may want the core. */

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { MOST_HELPERS = 63, PATIENCE = 50000, LATE = 50000, LONGEST_REST = 1024 }; /* times in ns, rests in passes */

typedef int (*Work)(const void *job, int64_t row);

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int helpers, wanted;                  /* threads there are, and how many of them may join */
    Work work;
    const void *job;
    int64_t rows;
    atomic_llong ticket;                  /* of the job: odd while it may be joined */
    atomic_llong next;                    /* row to take */
    atomic_int busy, failed;              /* helpers inside of the job; what failed rows gave */
    pthread_cond_t done;
    atomic_int waited_for;                /* the caller sleeps until none is busy */
} team = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static int64_t resting, rest = 16; /* passes to do alone now, and after the next long wait */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER; /* one caller at a time uses the team */

INLINE void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Gives how many rows were taken. */
static int64_t take_rows(void) {
    int64_t row, taken = 0;
    for (; (row = atomic_fetch_add(&team.next, 1)) < team.rows; taken++)
        atomic_fetch_add(&team.failed, team.work(team.job, row));
    return taken;
}

static void *help(void *number) {
    long long seen = 0;
    for (;;) {
        for (int64_t began = now(); atomic_load(&team.ticket) == seen && now() - began < PATIENCE;) pause_briefly();
        if (atomic_load(&team.ticket) == seen) {
            pthread_mutex_lock(&team.lock);
            while (atomic_load(&team.ticket) == seen) pthread_cond_wait(&team.wake, &team.lock);
            pthread_mutex_unlock(&team.lock);
        }
        seen = atomic_load(&team.ticket);
        atomic_fetch_add(&team.busy, 1);
        /* Closed meanwhile, or not for this helper: what the job points to may be gone. */
        if (atomic_load(&team.ticket) == seen && seen % 2 && (intptr_t)number < team.wanted) take_rows();
        if (atomic_fetch_sub(&team.busy, 1) == 1 && atomic_load(&team.waited_for)) {
            pthread_mutex_lock(&team.lock);
            pthread_cond_signal(&team.done);
            pthread_mutex_unlock(&team.lock);
        }
    }
    return NULL;
}

/* Until no helper is inside of the job. */
static void wait_for_helpers(void) {
    for (int64_t began = now(); atomic_load(&team.busy) && now() - began < PATIENCE;) pause_briefly();
    if (!atomic_load(&team.busy)) return;
    pthread_mutex_lock(&team.lock);
    atomic_store(&team.waited_for, 1);
    while (atomic_load(&team.busy)) pthread_cond_wait(&team.done, &team.lock);
    atomic_store(&team.waited_for, 0);
    pthread_mutex_unlock(&team.lock);
}

/* A child of fork has none of its parent's threads. */
static void forget(void) {
    team.helpers = 0;
    atomic_store(&team.busy, 0);
    atomic_store(&team.ticket, 0); /* another thread of the parent may have been inside of a job */
    pthread_mutex_init(&team.lock, NULL);
    pthread_cond_init(&team.wake, NULL);
    pthread_cond_init(&team.done, NULL);
    atomic_store(&team.waited_for, 0);
    pthread_mutex_init(&turn, NULL);
}

static void hire(int helpers) {
    static int told = 0;
    if (!told) told = !pthread_atfork(NULL, NULL, forget);
    for (; team.helpers < helpers && team.helpers < MOST_HELPERS; team.helpers++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, help, (void *)(intptr_t)team.helpers)) return;
        pthread_detach(thread);
    }
}

/* Do `work` for every row, by so many threads at most; gives the sum of what it gave, 0 for a row that went well. */
static int spread(int64_t threads, int64_t rows, Work work, const void *job) {
    if (threads <= 1 || rows <= 1 || (resting > 0 && resting--) || pthread_mutex_trylock(&turn)) {
        int failed = 0;
        for (int64_t row = 0; row < rows; row++) failed += work(job, row);
        return failed;
    }
    hire((int)threads - 1);
    team.work = work, team.job = job, team.rows = rows, team.wanted = (int)threads - 1;
    atomic_store(&team.failed, 0);
    atomic_store(&team.next, 0);
    pthread_mutex_lock(&team.lock);
    atomic_fetch_add(&team.ticket, 1);
    pthread_cond_broadcast(&team.wake);
    pthread_mutex_unlock(&team.lock);
    int64_t began = now(), taken = take_rows(), done = now();
    atomic_fetch_add(&team.ticket, 1);
    wait_for_helpers();
    if (taken && now() - began > LATE + (done - began) * rows / taken) {
        resting = rest;
        rest = rest < LONGEST_REST ? 2 * rest : rest;
    } else if (rest > 16) {
        rest -= (rest + 15) / 16;
    }
    int failed = atomic_load(&team.failed);
    pthread_mutex_unlock(&turn);
    return failed;
}

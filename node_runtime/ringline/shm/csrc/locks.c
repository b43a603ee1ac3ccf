/* Who is alive: one POSIX record lock per node, a byte each of the session's lock file, held for life.
 *
 * A record lock drops when *any* descriptor of the file is closed in the process. So this process opens each lock file
 * once and shares the descriptor, moves it to a high number before the first lock (code that closes low descriptors
 * does not meet it), and closes it only when its last user is gone. Called with the GIL held. */
#include "map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static rl_locks *open_files;

static int lock_path(const char *directory, char *path, size_t size) {
    int length = snprintf(path, size, "%s/locks", directory);
    return length < 0 || (size_t)length >= size ? -1 : 0;
}

static rl_locks *find(const struct stat *status) {
    for (rl_locks *locks = open_files; locks; locks = locks->next)
        if (locks->inode == status->st_ino && locks->device == status->st_dev)
            return locks;
    return NULL;
}

static int move_high(int fd) {
    struct rlimit limit;
    rlim_t top = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 256;
    rlim_t floor = top > 1088 ? 1024 : top > 64 ? top - 64 : 3;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, (int)floor);
    if (high < 0)
        return fd;
    close(fd); /* no lock is held through it yet */
    return high;
}

rl_locks *rl_locks_open(const char *directory, bool create, rl_error *error) {
    char path[1100];
    struct stat status;
    if (lock_path(directory, path, sizeof path) < 0)
        return rl_fail(error, RL_E_ARENA, ENAMETOOLONG, "the session directory's path is too long: %s", directory), NULL;
    rl_locks *locks = stat(path, &status) == 0 ? find(&status) : NULL;
    if (locks) {
        locks->users++;
        return locks;
    }
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (create ? O_CREAT : 0), 0600);
    if (fd < 0)
        return rl_fail(error, RL_E_ARENA, errno, "can't open the lock file %s: %s", path, strerror(errno)), NULL;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid()) {
        close(fd);
        return rl_fail(error, RL_E_ARENA, EPERM, "%s is not a regular file of this user", path), NULL;
    }
    locks = calloc(1, sizeof *locks);
    if (!locks) {
        close(fd);
        return rl_fail(error, RL_E_MEMORY, ENOMEM, "out of memory"), NULL;
    }
    *locks = (rl_locks){.device = status.st_dev, .inode = status.st_ino, .fd = move_high(fd), .users = 1, .next = open_files};
    open_files = locks;
    return locks;
}

void rl_locks_close(rl_locks *locks) {
    if (!locks || --locks->users > 0)
        return;
    for (rl_locks **link = &open_files; *link; link = &(*link)->next)
        if (*link == locks) {
            *link = locks->next;
            break;
        }
    if (locks->fd >= 0)
        close(locks->fd);
    free(locks);
}

void rl_locks_forget(void) {
    for (rl_locks *locks = open_files; locks; locks = locks->next) {
        if (locks->fd >= 0)
            close(locks->fd); /* the child holds no lock, so nothing drops */
        locks->fd = -1;
        locks->inode = 0;
        locks->device = 0;
        memset(locks->held, 0, sizeof locks->held);
    }
    open_files = NULL; /* what is still referenced is freed by its users */
}

int rl_lock_take(rl_locks *locks, int byte) {
    if (locks->held[byte])
        return 1;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    if (fcntl(locks->fd, F_SETLK, &lock) < 0)
        return errno == EAGAIN || errno == EACCES ? 1 : -1;
    locks->held[byte] = true;
    return 0;
}

void rl_lock_drop(rl_locks *locks, int byte) {
    if (locks->fd < 0 || !locks->held[byte])
        return;
    locks->held[byte] = false;
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    (void)fcntl(locks->fd, F_SETLK, &lock);
}

static int query(int fd, int byte) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    if (fcntl(fd, F_GETLK, &lock) < 0)
        return -1;
    return lock.l_type != F_UNLCK;
}

int rl_lock_held(rl_locks *locks, int byte) {
    return locks->held[byte] ? 1 : query(locks->fd, byte); /* F_GETLK never shows one's own */
}

int rl_locks_probe(const char *directory, int byte) {
    char path[1100];
    struct stat status;
    if (lock_path(directory, path, sizeof path) < 0 || stat(path, &status) < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
    rl_locks *locks = find(&status);
    if (locks)
        return rl_lock_held(locks, byte); /* opening and closing it here would drop our own locks */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    int held = query(fd, byte);
    close(fd);
    return held;
}

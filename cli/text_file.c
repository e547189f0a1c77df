#include "cli/text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int
failed(const char *command, const char *path)
{
    const char *advice = errno == EEXIST ? "; --force replaces it" : "";
    (void)fprintf(stderr, "dynabus %s: %s: %s%s\n", command, path, strerrordesc_np(errno), advice);
    return -1;
}

static int
write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return -1;
        }
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

int
cli_write_text(const char *command, const char *path, bool may_replace, const struct dyn_buf *text)
{
    if (path == NULL) {
        (void)fwrite(text->data, 1, text->len, stdout);
        return 0;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (may_replace ? O_TRUNC : O_EXCL), 0600);
    if (fd < 0) {
        return failed(command, path);
    }
    int result = write_all(fd, text->data, text->len);
    int error = errno;
    if (close(fd) != 0 && result == 0) {
        result = -1;
        error = errno;
    }
    errno = error;
    return result == 0 ? 0 : failed(command, path);
}

#include "descriptor.h"

#include <fcntl.h>
#include <unistd.h>

int idse_apart(int file)
{
    if (file < 0 || file > STDERR_FILENO)
        return file;
    const int apart = fcntl(file, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(file);
    return apart;
}

/* Descriptors of our own in a process of somebody else's. */
#ifndef IDSE_DESCRIPTOR_H
#define IDSE_DESCRIPTOR_H

/* Takes a new descriptor (or -1) out of the way of standard input, output and error: where one of
 * these is closed, the kernel hands out its number, and whatever the program then prints would go to
 * the sidecar, or into a picture. Closed on exec; -1 where there is none left. */
int idse_apart(int file);

#endif

/* What each encoder that is to come is asked for. */
#ifndef IDSE_CHOICES_H
#define IDSE_CHOICES_H

/* The settings of the encoder that `context` opens now, which were chosen for it or are everybody's;
 * NULL: it is left alone. The choice is used up. */
const char *idse_choices_take(const void *context);

/* Nobody is asked for anything any more. */
void idse_choices_clear(void);

/* Around fork(), during which another thread may be in here. */
void idse_choices_lock(void);
void idse_choices_unlock(void);

#endif

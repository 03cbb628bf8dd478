/* What an encoder is asked for: by whoever opens it in this process, else by the environment. */
#ifndef IDSE_SETTINGS_H
#define IDSE_SETTINGS_H

/* For encoders that this thread opens from now on, until it is called with NULL. `block` is laid out
 * as an environment, "NAME=VALUE" and a zero byte for each, and outlives those encoders. */
void idse_settings_use(const char *block);

/* NULL where there is none, or it is empty. An empty one in a block hides that of the environment. */
const char *idse_setting(const char *name);

#endif

#define EXPORT __attribute__((visibility("default")))

/* Changes with every signature or struct; idse.native checks it at load. */
EXPORT int idse_h264_abi(void);
EXPORT int idse_h264_abi(void)
{
    return 1;
}

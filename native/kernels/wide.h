/* Code once more for AVX2, chosen when the library is loaded. No fused multiplication anywhere: every
 * machine computes the same. */
#ifndef IDSE_WIDE_H
#define IDSE_WIDE_H

#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_ADDRESS__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

#endif

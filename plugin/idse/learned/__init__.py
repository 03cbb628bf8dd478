"""Networks that we train. Nothing here needs torch until something is trained."""

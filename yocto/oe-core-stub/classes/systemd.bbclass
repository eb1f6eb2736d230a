# Stands for oe-core's class, which cannot be had here: see yocto/check.

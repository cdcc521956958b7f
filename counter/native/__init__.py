"""Native modules of counting and asking; `tracker.native` says what a native module is."""

//! Dead letters: given up, listed, tried again, forgotten; in the core, and with the real program.

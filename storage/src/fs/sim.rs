//! A disk in memory. (Being written.)

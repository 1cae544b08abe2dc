//! The operating system. (Being written.)

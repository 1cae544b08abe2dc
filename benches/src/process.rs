//! What the system says of this process.

use std::fs;

/// A line of this process's status that counts kibibytes: `VmRSS:` is what is resident now, `VmHWM:`
/// the most that ever was. 0 where the system does not say.
#[must_use]
pub fn memory(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rest = status.lines().find_map(|found| found.strip_prefix(line));
    let number = rest.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::memory;

    #[test]
    fn a_process_is_resident_and_was_at_least_as_much() {
        assert!(0 < memory("VmRSS:") && memory("VmRSS:") <= memory("VmHWM:"));
        assert_eq!(memory("VmNone:"), 0);
    }
}

//! Whether somebody holds the log's lock, told from texts, without taking it. Pure.
//!
//! Above: [`disk`](super::disk), which reads the texts: what the holder wrote into `LOCK`, the
//! kernel's table of locks, and what it says of a process. Below: nothing.
//! To try the lock would be to take it for an instant, and a node that starts just then would be
//! refused; so those who only look ask like this.

/// What a holder wrote into `LOCK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Portrait<'a> {
    pub(super) pid: u32,
    pub(super) host: &'a str,
    /// Seconds since 1970.
    pub(super) since: u64,
}

/// Reads `process 12 on host, since 1700000000 (…)`.
pub(super) fn portrait(text: &str) -> Option<Portrait<'_>> {
    let (pid, rest) = text.strip_prefix("process ")?.split_once(" on ")?;
    let (host, rest) = rest.rsplit_once(", since ")?;
    let since = rest.split(' ').next()?;
    Some(Portrait { pid: pid.parse().ok()?, host, since: since.parse().ok()? })
}

/// Who holds a lock on the file, by the kernel's table (`/proc/locks`): lines such as
/// `1: FLOCK  ADVISORY  WRITE 1234 fe:00:4711 0 EOF`. Those who wait for one have `->` in front.
pub(super) fn flock_holder(table: &str, (major, minor): (u32, u32), inode: u64) -> Option<u32> {
    let wanted = format!("{major:02x}:{minor:02x}:{inode}");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ["FLOCK", _, _, pid, file, ..] = fields.get(1..)? else { return None };
        if *file == wanted { pid.parse().ok() } else { None }
    })
}

/// Whether `/proc/PID/stat` is that of a process which has ended and whose parent has not asked for it
/// yet: it holds no lock any more.
pub(super) fn is_ended(of_process: &str) -> bool {
    let state =
        of_process.rsplit_once(')').and_then(|(_, fields)| fields.trim_start().chars().next());
    matches!(state, Some('Z' | 'X'))
}

/// When a process started, in seconds since 1970, by `/proc/PID/stat` and `/proc/stat`.
pub(super) fn started(of_process: &str, of_system: &str) -> Option<u64> {
    /// Ticks in a second, as Linux counts them towards programs on every machine.
    const TICKS: u64 = 100;
    // The name of a program may hold anything: the fields begin behind its last bracket.
    let (_, fields) = of_process.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let boot = of_system.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<u64>().ok()?.saturating_add(ticks / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portrait_is_read_whatever_the_host_is_called() {
        let text = "process 12 on a, since b, since 1700000000 (seconds after 1970, UTC)";
        let read = Portrait { pid: 12, host: "a, since b", since: 1_700_000_000 };
        assert_eq!(portrait(text), Some(read));
        for bad in ["", "process", "process x on h, since 1", "process 1 on h", "xxxxxxxx"] {
            assert_eq!(portrait(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_kernels_table_names_the_holder_and_not_who_waits() {
        let table = "1: POSIX  ADVISORY  WRITE 7 fe:00:5 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 8 fe:00:5 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 9 fe:00:6 0 EOF\nrubbish\n";
        assert_eq!(flock_holder(table, (0xfe, 0), 5), Some(8));
        assert_eq!(flock_holder(table, (0xfe, 0), 6), None);
        assert_eq!(flock_holder(table, (0xfe, 1), 5), None);
    }

    #[test]
    fn the_start_of_a_process_is_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 250 1 1";
        assert_eq!(started(stat, "cpu 1\nbtime 1000\n"), Some(1002));
        assert_eq!(started(stat, "cpu 1\n"), None);
        assert_eq!(started("7 (x", "btime 1\n"), None);
        assert!(!is_ended(stat) && is_ended("7 (a) S) Z 1") && is_ended("7 (a) X 1"));
    }
}

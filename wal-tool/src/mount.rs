//! On what a directory lies: the file system and the device, as the kernel says.
//!
//! Above: `bench-disk`. Below: `/proc/self/mountinfo` and `/sys/dev/block`. Where these are missing, or
//! say something else, nothing is known, and nothing depends on it.

use std::{fs, path::Path};

/// What is known of a mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mount {
    /// `ext4`, `tmpfs`, …; empty where it is not known.
    pub(crate) kind: String,
    /// What is mounted, `/dev/sda1`.
    pub(crate) device: String,
    /// Whether the kernel takes the device for a disk that turns; `None` where it does not say.
    pub(crate) rotating: Option<bool>,
}

impl Mount {
    /// Of the directory, or of whatever it is a link to.
    pub(crate) fn of(dir: &Path) -> Self {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let path = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
        let Some((mut mount, numbers)) = find(&table, &path) else { return Self::default() };
        // A partition has no queue of its own: its disk has.
        let places = ["queue/rotational", "../queue/rotational"];
        let said = places
            .iter()
            .find_map(|place| fs::read_to_string(format!("/sys/dev/block/{numbers}/{place}")).ok());
        mount.rotating = said.and_then(|said| match said.trim() {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        });
        mount
    }

    /// Whether it is memory, which a power cut empties.
    pub(crate) fn is_memory(&self) -> bool {
        ["tmpfs", "ramfs", "devtmpfs"].contains(&self.kind.as_str())
    }

    /// Whether another machine does the syncing, or another program.
    pub(crate) fn is_remote(&self) -> bool {
        let kinds = ["nfs", "cifs", "smb", "ceph", "fuse", "9p", "virtiofs", "glusterfs"];
        kinds.iter().any(|kind| self.kind.starts_with(kind))
    }
}

/// The mount on which `path` lies, and the numbers of its device: the deepest, and of several in the
/// same place the last.
fn find(table: &str, path: &Path) -> Option<(Mount, String)> {
    let mut best: Option<(usize, Mount, String)> = None;
    for line in table.lines() {
        let Some((front, back)) = line.split_once(" - ") else { continue };
        let front: Vec<&str> = front.split(' ').collect();
        let mut back = back.split(' ');
        let (Some(numbers), Some(place)) = (front.get(2), front.get(4)) else { continue };
        let place = place.replace("\\040", " ");
        if !path.starts_with(&place) || best.as_ref().is_some_and(|(len, ..)| *len > place.len()) {
            continue;
        }
        let mut word = || back.next().unwrap_or_default().to_owned();
        let mount = Mount { kind: word(), device: word(), rotating: None };
        best = Some((place.len(), mount, (*numbers).to_owned()));
    }
    best.map(|(_, mount, numbers)| (mount, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw
31 27 8:17 / /my\\040disk rw - xfs /dev/sdb1 rw
32 27 8:33 / /my\\040disk rw - nfs4 server:/x rw
rubbish";

    #[test]
    fn the_deepest_mount_counts_and_of_two_in_one_place_the_last() {
        let of = |path: &str| {
            let (mount, numbers) = find(TABLE, Path::new(path)).expect("found");
            (mount.kind, mount.device, numbers)
        };
        let is = |kind: &str, device: &str, numbers: &str| {
            (kind.to_owned(), device.to_owned(), numbers.to_owned())
        };
        assert_eq!(of("/data/n1"), is("ext4", "/dev/vda", "254:0"));
        assert_eq!(of("/dev/shm/n1"), is("tmpfs", "tmpfs", "0:23"));
        // A name that only begins alike is another place.
        assert_eq!(of("/dev/shmx"), is("ext4", "/dev/vda", "254:0"));
        assert_eq!(of("/my disk/n1"), is("nfs4", "server:/x", "8:33"));
        assert_eq!(find("", Path::new("/")), None);
    }

    #[test]
    fn memory_and_what_others_sync_are_told_apart() {
        let of = |kind: &str| Mount { kind: kind.to_owned(), ..Mount::default() };
        let all = ["ext4", "tmpfs", "nfs4", "fuse.sshfs", ""];
        let said = all.map(|kind| (of(kind).is_memory(), of(kind).is_remote()));
        let (no, memory, remote) = ((false, false), (true, false), (false, true));
        assert_eq!(said, [no, memory, remote, remote, no]);
    }
}

//! File systems that another machine may write to as well. The locks of SQLite are not reliable there: when each of two processes
//! believes it is alone, they damage the store.

use std::path::Path;

/// The magic numbers of statfs(2), and the names of the file systems.
const FILE_SYSTEMS: [(u32, &str); 12] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "SMB (CIFS)"),
    (0xfe53_4d42, "SMB 2"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd3, "Lustre"),
    (0x4750_4653, "GPFS"),
    // sshfs and others; the system does not tell which
    (0x6573_5546, "FUSE"),
];

/// The name of the file system that a file is on, if it is a network file system.
#[cfg(target_os = "linux")]
pub(super) fn file_system_of(path: &Path) -> Option<&'static str> {
    // The number has 32 bits; the width of its type depends on the architecture
    rustix::fs::statfs(path).ok().and_then(|found| named(found.f_type as u32))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn file_system_of(_path: &Path) -> Option<&'static str> {
    None
}

/// Whether a file is known to be on a local file system.
#[cfg(target_os = "linux")]
pub(super) fn is_local(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| named(found.f_type as u32).is_none())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_local(_path: &Path) -> bool {
    false
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn named(magic: u32) -> Option<&'static str> {
    FILE_SYSTEMS.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_distinguished_from_local_ones() {
        for (magic, name) in
            [(0x6969, "NFS"), (0xff53_4d42, "SMB (CIFS)"), (0xfe53_4d42, "SMB 2"), (0x6573_5546, "FUSE")]
        {
            assert_eq!(named(magic), Some(name));
        }
        // ext4, XFS, Btrfs, tmpfs, overlayfs, ZFS, F2FS
        for magic in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1, 0xf2f5_2010] {
            assert_eq!(named(magic), None, "{magic:x}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_magic_number_comes_from_the_system() {
        let magic = |path: &str| rustix::fs::statfs(path).unwrap().f_type as u32;
        assert_eq!(magic("/proc"), 0x9fa0);
        assert_eq!(file_system_of(Path::new("/proc")), None);
        assert_eq!(file_system_of(Path::new("/no/such/file")), None);
    }
}

//! The process keeps its memory to itself: private keys and passwords are in it.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Leaves no core dump, and lets no other process of the same user attach or read `/proc/PID/mem`. The first thing that
/// happens, before any secret is in memory; children that are other programs start without the second.
pub(crate) fn keep_memory_private() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // Beyond the limit: a core_pattern that is a pipe gets its dump whatever the limit says
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// What the agent may come to need. Under a limit below that, locking would let later allocations fail.
#[cfg(target_os = "linux")]
const ROOM: u64 = 64 << 20;

/// Keeps what is in memory, now and later, from being written to swap space.
#[cfg(target_os = "linux")]
pub(crate) fn keep_memory_resident() -> Result<(), String> {
    use rustix::mm::{MlockAllFlags, mlockall};
    use rustix::process::getrlimit;
    use rustix::thread::{CapabilitySet, capabilities};

    let privileged = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    let mut limit = getrlimit(Resource::Memlock);
    limit.current = limit.maximum;
    // What may be raised without being asked is raised
    let _ = setrlimit(Resource::Memlock, limit);
    match getrlimit(Resource::Memlock).current {
        Some(least) if least < ROOM && !privileged => {
            Err(format!("only {} KiB can be locked, and {} KiB are needed", least >> 10, ROOM >> 10))
        }
        _ => {
            let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
            mlockall(all).map_err(|error| error.to_string())
        }
    }
}

/// Not known how, elsewhere.
#[cfg(not(target_os = "linux"))]
pub(crate) fn keep_memory_resident() -> Result<(), String> {
    Err("locking memory is not supported on this system".to_owned())
}

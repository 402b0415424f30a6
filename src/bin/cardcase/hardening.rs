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

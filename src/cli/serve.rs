//! `serve`: runs the unit, with one heap for all its threads.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::config::{Sources, load};
use crate::daemon;
use crate::error::Result;

/// Read by the C library as a program starts, and only then.
const HEAPS: &str = "MALLOC_ARENA_MAX";

pub fn run(sources: &Sources) -> Result<ExitCode> {
    share_one_heap();
    daemon::serve(&load(sources)?, sources).map(|()| ExitCode::SUCCESS)
}

/// glibc keeps what each thread has freed apart: buffers of whole pictures, several times over, a quarter of the unit's memory.
/// So the program begins once more, as the same process, with all threads on one heap; a number from outside wins.
fn share_one_heap() {
    if std::env::var_os(HEAPS).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        // It comes back only when it could not: the unit then runs all the same, and takes more memory.
        let _ = Command::new(program).args(std::env::args_os().skip(1)).env(HEAPS, "1").exec();
    }
}
